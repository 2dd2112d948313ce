"""When our own credentials end: by the certificate's file, by `expires` in the YAML, else by what a probe was told in the tenant."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from probes.core.contract import Secret, Stopped
from probes.lib.assertion import signer
from probes.lib.tenant import Credential, Tenant

WARN_SECONDS = 30 * 86_400.0
"""How long before its end `fogbell check` warns of a credential."""

Expiries = dict[tuple[str, str], float]
"""(tenant, `certificate` or `secret`) to Unix seconds."""


def known(tenants: Mapping[str, Tenant], read: Callable[[Secret], str] | None) -> Expiries:
    """Return when credentials end, as far as files and YAML tell; without `read` no file is looked at."""
    found = ((name, end) for name, tenant in tenants.items() for end in _ends(tenant.credential, read))
    return {(name, kind): seconds for name, (kind, seconds) in found}


def _ends(credential: Credential, read: Callable[[Secret], str] | None) -> Iterator[tuple[str, float]]:
    if credential.certificate is not None and read is not None:
        seconds = _end_of_certificate(credential.certificate, read)
        if seconds is not None:
            yield "certificate", seconds
    if credential.expires is not None:
        day = credential.expires
        yield "secret", (datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1, seconds=-1)).timestamp()


def _end_of_certificate(secret: Secret, read: Callable[[Secret], str]) -> float | None:
    """Return the end of the certificate that we sign in with; None where it cannot be used, which `unusable` tells."""
    try:
        return signer(read(secret)).not_after
    except Stopped:
        return None


def unusable(tenants: Mapping[str, Tenant], read: Callable[[Secret], str] | None) -> tuple[str, ...]:
    """Say why certificates cannot be used, in lines."""
    found = []
    for name, tenant in tenants.items():
        if tenant.credential.certificate is not None and read is not None:
            try:
                signer(read(tenant.credential.certificate))
            except Stopped as stopped:
                found.append(f"tenants.{name}.credential: {stopped.message}")
    return tuple(found)


def together(ours: Expiries, told: Mapping[tuple[str, str], float], tenants: Mapping[str, Tenant]) -> Expiries:
    """Return ours, and where we do not know what was told of a credential that is still in use."""
    in_use = {(name, kind) for name, tenant in tenants.items() for kind in ("certificate", "secret") if getattr(tenant.credential, kind)}
    return {key: seconds for key, seconds in told.items() if key in in_use} | ours


@dataclass(frozen=True, slots=True)
class Ending:
    """A credential that has ended or soon will. `seconds` are those it has left."""

    tenant: str
    credential: str
    end: float
    seconds: float

    def __str__(self) -> str:
        day = datetime.fromtimestamp(self.end, UTC).date()
        days = int(abs(self.seconds) // 86_400)
        count = "1 day" if days == 1 else f"{days} days"
        when = f"expires on {day}, in {count}" if self.seconds > 0 else f"has expired on {day}, {count} ago"
        return f"tenants.{self.tenant}.credential: the {self.credential} {when}"


def ending(expiries: Expiries, now: float | None = None) -> tuple[Ending, ...]:
    """Return the credentials of which `fogbell check` warns, the most urgent first."""
    moment = time.time() if now is None else now
    found = (Ending(tenant, credential, end, end - moment) for (tenant, credential), end in expiries.items())
    return tuple(sorted((one for one in found if one.seconds <= WARN_SECONDS), key=lambda one: one.seconds))
