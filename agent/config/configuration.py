"""What a configuration is once it has been read and found right."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.config.mistakes import Mistake
from agent.job import Job
from probes.core.contract import Secret
from probes.lib.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Built:
    """One probe: the line of plain data it was built from, the job, and the secrets it uses.

    The line is canonical, so two equal lines are the same probe. It is `head TAB settings`, both JSON.
    """

    line: bytes = field(repr=False)
    job: Job
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything the agent does.

    `digest` is over the content of the files and of the secrets they name; `shown` is the configuration as it may be shown.
    """

    built: tuple[Built, ...]
    jobs: tuple[Job, ...]
    tenants: Mapping[str, Tenant]
    state_dir: str | None
    warnings: tuple[Mistake, ...]
    sources: tuple[Path, ...]
    secrets: tuple[Secret, ...]
    digest: str = field(repr=False)
    shown: str = field(default="", repr=False)
