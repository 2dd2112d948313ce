"""The tools that commands are written for."""

from enum import StrEnum


class Shell(StrEnum):
    """Which tool the commands are for."""

    POWERSHELL = "powershell"
    AZ = "az"
    BOTH = "both"
