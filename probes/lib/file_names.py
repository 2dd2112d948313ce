"""Names of files and ways to them, as SharePoint and OneDrive take them."""

from typing import Annotated

from pydantic import AfterValidator, Field

_IN_NO_NAME = frozenset('"*:<>?\\|')
# Besides the slash (support.microsoft.com, "Restrictions and limitations in OneDrive and SharePoint").


def _path(text: str) -> str:
    path = text.strip("/")
    if any(name in {"", ".", ".."} for name in path.split("/")):
        raise ValueError("must be the way to a file below the top of the library, such as probe/canary.bin")
    if wrong := sorted(_IN_NO_NAME & set(path)):
        raise ValueError(f"holds {' '.join(wrong)}, which no name in SharePoint may")
    return path


def _name(text: str) -> str:
    if _IN_NO_NAME & set(text) or "/" in text:
        raise ValueError('is no name of a file: none holds any of " * : < > ? / \\ |')
    return text


FilePath = Annotated[str, Field(max_length=400), AfterValidator(_path)]
"""The way to a file below the top of a drive, without slashes at its ends."""
FileName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_name)]
"""The name of a file without the way to it."""
