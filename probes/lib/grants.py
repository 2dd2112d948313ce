"""What a person's sign-in left behind: the refresh token of a tenant's probe user, one file for each tenant.

`<state_dir>/grants/<tenant>.json`, mode 0600. It is written whole or not at all, off the loop, and read again when it changes on disk. A
refresh token that could not be written stays in memory and is tried again: the one on disk may be dead by then. A disk that hangs holds up
nobody but the tenant whose file it is.
"""

import json
import logging
import secrets
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.reasons import Reason
from probes.lib import private_file
from probes.lib.turns import Turns

log = logging.getLogger("fogbell.grants")

SECONDS = 5.0
"""Longest wait for the disk."""

_LARGEST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Grant:
    """A sign-in. `id` stays while the refresh token rotates; `signed_in` and `rotated` are Unix seconds."""

    tenant_id: str
    client_id: str
    login: str
    refresh_token: str = field(repr=False)
    user: str = ""
    scopes: str = ""
    signed_in: float = 0.0
    rotated: float = 0.0
    id: str = field(default_factory=lambda: secrets.token_hex(16))


_GRANT = TypeAdapter(Grant)


@dataclass(slots=True)
class _Known:
    """A grant in memory; `seen` is how its file looked, `written` whether the file holds it."""

    grant: Grant
    seen: tuple[int, ...] = ()
    written: bool = True


class Grants:
    """The grants in use."""

    def __init__(self) -> None:
        self._known: dict[Path, _Known] = {}
        self._turns = Turns("grants")

    async def read(self, path: Path) -> Grant | None:
        """Return the grant of a file, or None where there is none.

        Raises:
            Failed: GRANT_DEAD where the file holds something else.
            Inconclusive: AGENT_RESOURCES where the file cannot be read, or not in time.

        """
        try:
            return await self._turns.take(path, partial(self._read, path), SECONDS)
        except TimeoutError:
            raise Inconclusive(Reason.AGENT_RESOURCES, f"{path} could not be read within {SECONDS:g} s: its disk does not answer") from None

    async def keep(self, path: Path, grant: Grant) -> bool:
        """Store a grant, however long it takes. False where the disk refused: it is in memory then, and tried again with the next read."""
        return await self._turns.take(path, partial(self._keep, path, grant), None)

    async def rotate(self, path: Path, used: str, refresh_token: str, now: float) -> None:
        """Put a new refresh token in the place of the one that was used, unless someone has signed in anew meanwhile.

        Whatever the disk does, the access token that came with it is good: a disk that hangs is not waited for.
        """
        try:
            await self._turns.take(path, partial(self._rotate, path, used, refresh_token, now), SECONDS)
        except (TimeoutError, Stopped):
            log.warning("a refresh token is not stored yet: the disk does not answer, or not well", extra={"file": str(path)})

    def _read(self, path: Path) -> Grant | None:
        known = self._known.get(path)
        seen = _looks(path)
        if known is not None and (seen == known.seen or not (seen or known.written)):
            if not known.written:
                self._keep(path, known.grant)
            return known.grant
        if not seen:
            self._known.pop(path, None)
            return None
        grant = _parsed(path)
        self._known[path] = _Known(grant, seen)
        return grant

    def _rotate(self, path: Path, used: str, refresh_token: str, now: float) -> None:
        known = self._known.get(path)
        try:
            grant = self._read(path)
        except Stopped:
            # Somebody has spoilt the file while we asked; what we read before is what we used, and counts from now on.
            if known is None:
                raise
            grant, known.seen = known.grant, _looks(path)
        if grant is not None and grant.refresh_token == used:
            self._keep(path, replace(grant, refresh_token=refresh_token, rotated=now))

    def _keep(self, path: Path, grant: Grant) -> bool:
        known = self._known.setdefault(path, _Known(grant))
        known.grant = grant
        try:
            private_file.write(path, json.dumps(asdict(grant), indent=2) + "\n")
            known.seen = _looks(path)
        except OSError as error:
            _note_failure(known, error)
            return False
        known.written = True
        return True


def _note_failure(known: _Known, error: OSError) -> None:
    if known.written:
        log.error("a refresh token cannot be stored; it stays in memory and is tried again: %s", error.strerror)
    known.written = False


def grant_path(state_dir: str | None, tenant: str) -> Path:
    """Return the file of a tenant's grant.

    Raises:
        Failed: APP_CONFIG where the configuration names no state_dir.

    """
    if state_dir is None:
        raise Failed(Reason.APP_CONFIG, "a sign-in of a person needs state_dir in the configuration, to keep its refresh token")
    return Path(state_dir) / "grants" / f"{tenant}.json"


def _looks(path: Path) -> tuple[int, ...]:
    """How a file looks from outside; empty where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise Inconclusive(Reason.AGENT_RESOURCES, f"{path} cannot be read: {error.strerror}") from error
    return found.st_ino, found.st_size, found.st_mtime_ns


def _parsed(path: Path) -> Grant:
    try:
        return _GRANT.validate_json(private_file.read(path, _LARGEST_BYTES))
    except OSError as error:
        raise Inconclusive(Reason.AGENT_RESOURCES, f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        # Its words would repeat what the file holds.
        raise Failed(Reason.GRANT_DEAD, f"{path} holds no sign-in; run `fogbell login` again") from None
