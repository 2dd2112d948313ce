"""Tokens for all runs: one flight at a time for each credential, renewal ahead of time, and rest after a failure.

A request for a token is a task of its own, a flight: the run that began it may end at its deadline, and the flight goes on for the others.
Runs that wait for a flight share its token or failure, its phases from the moment they joined, its evidence. After a failure there is no
request for a while, counted from the last one's start: 15 s after one of the network or the provider, in which a run waits if its deadline
allows, so that what it says is of now; 55 s where Entra refuses who we are, in which runs get the same failure again.

Two entries of the configuration may be one credential on two ways, as directly and through a proxy. Each way has its tokens, flights and
failures; only what the provider itself answered (a refusal, too many requests, a fault of its own) holds back all ways of a credential.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from secrets import randbelow
from time import perf_counter

from probes.core.aadsts import FAULTS
from probes.core.context import Context, OpenStep
from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.needs import Service
from probes.core.reasons import Reason
from probes.lib.grants import Grants, grant_path
from probes.lib.oauth import TOKEN_PATH, Proof, Token, ask, resource_of
from probes.lib.proof import grant_of, proof_of
from probes.lib.proxy import Proxy
from probes.lib.tenant import Tenant
from probes.lib.tls import Trust
from probes.lib.usage import Usage

__all__ = ["Token", "Tokens", "token_for"]

FLIGHT_SECONDS = 15.0
"""Longest that one request may take."""
REST_SECONDS = 15.0
"""From the start of a request that the network or the provider failed to the next one of the same credential."""
REFUSED_SECONDS = 55.0
"""From the start of a request that was refused to the next one: a probe of every minute asks each time."""
YOUNG_SECONDS = 300.0
"""A refused token that is older is not used again: what was right when it was given may have been taken back."""
LONGEST_REST_SECONDS = 120.0
"""Most that Retry-After may make of it: two intervals of a probe of every minute."""

_RENEWED_AT, _JITTER = 0.8, 0.05
_LAST_SECONDS = 30.0
_SHORT_LIVED = 0.5
# A token is used until 30 s before its end, one of less than a minute for half its life.
_FORGOTTEN_AFTER = 7_200.0
_LATE_SECONDS = 1.0
# A run that joins a request later than this asks once more where it fails: what was asked before may say nothing of now.
_TIME_TO_GO_ON = 4.0
# What a run must have left after waiting, so that it can do its work.

_REFUSALS = frozenset(
    {
        Reason.CREDENTIAL_EXPIRED,
        Reason.CREDENTIAL_INVALID,
        Reason.APP_CONFIG,
        Reason.CONSENT,
        Reason.INTERACTION_REQUIRED,
        Reason.BLOCKED_BY_POLICY,
        Reason.GRANT_DEAD,
        Reason.TENANT_RESTRICTED,
    }
)
_ANSWERED = _REFUSALS | {Reason.THROTTLED, Reason.IDENTITY_FAULT}
# What the provider said, whichever way it was asked.
_TIMEOUTS = {
    "resolve": Reason.DNS_TIMEOUT,
    "connect": Reason.CONNECT_TIMEOUT,
    "tls": Reason.TLS_TIMEOUT,
    "proxy": Reason.PROXY_UNREACHABLE,
}


async def token_for(ctx: Context, tenant: Tenant, resource: str = "", *, fresh: bool = False, delegated: bool = False) -> Token:
    """Return a token for `resource`, by default the tenant's Microsoft Graph. Call it within an open step.

    `fresh` asks for a new one, though never more often than others may; `delegated` is in the name of the user of `fogbell login`.

    Raises:
        Failed: with a reason of names, connections, proxies, TLS, or identity.
        Inconclusive: THROTTLED, or where this machine lacks what the run needs.

    """
    return await ctx.shared.part(Tokens).token(ctx, tenant, resource_of(tenant, resource), fresh=fresh, delegated=delegated)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a run wants: a token of this tenant for this resource, by this proof."""

    tenant: Tenant
    proof: Proof
    resource: str


@dataclass(frozen=True, slots=True)
class _Kept:
    """A token and when it came, by the clock that never jumps."""

    token: Token
    came: float


@dataclass(frozen=True, slots=True)
class _Rest:
    """A failure after which nothing is asked until `until`; `asked` is when the request began."""

    stopped: Stopped
    asked: float
    until: float


@dataclass(slots=True, eq=False)
class _Flight:
    """A request under way, and when it began."""

    resource: str
    began: float
    context: Context
    task: "asyncio.Task[Token | Stopped]"


@dataclass(slots=True, eq=False)
class _Line:
    """All that is known of one credential on one way, with its rests on all ways (`common`). A rest under "" is for all resources.

    `drift` spreads renewals: 0 to 1.
    """

    drift: float
    used: float
    common: dict[str, _Rest]
    kept: dict[str, _Kept] = field(default_factory=dict)
    rests: dict[str, _Rest] = field(default_factory=dict)
    flight: _Flight | None = None


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class Tokens:
    """The agent's tokens. `clock` is in seconds and never jumps; `path` is where the login host gives tokens."""

    def __init__(self, clock: Callable[[], float] = _loop_time, path: str = TOKEN_PATH) -> None:
        self._clock = clock
        self._path = path
        self._lines: dict[tuple[tuple[str, ...], Proxy | None, Trust], _Line] = {}
        self._common: dict[tuple[str, ...], dict[str, _Rest]] = {}

    async def token(self, ctx: Context, tenant: Tenant, resource: str, *, fresh: bool, delegated: bool) -> Token:
        """Return a token as `token_for` does."""
        wish = _Wish(tenant, await proof_of(ctx, tenant, delegated=delegated), resource)
        line = self._line(wish)
        kept = None if fresh else self._usable(line, resource)
        if kept is None:
            token = await self._fetched(ctx, wish, line)
        else:
            token = kept.token
            self._renew_early(ctx, wish, line, kept)
        _tell(ctx, token)
        return token

    def drop(self, token: Token, *, over: bool = False) -> None:
        """Forget a token that a service refuses, unless it is so young that another would fare no better.

        `over` says that its life has ended by the service's clock, whatever ours says.
        """
        for line in self._lines.values():
            for resource, kept in tuple(line.kept.items()):
                if kept.token is token and self._age(kept) > (REST_SECONDS if over else YOUNG_SECONDS):
                    del line.kept[resource]

    def _line(self, wish: _Wish) -> _Line:
        now = self._clock()
        tenant, proof = wish.tenant, wish.proof
        credential = tenant.tenant_id, tenant.client_id, tenant.where.login, proof.kind, proof.digest
        key = credential, tenant.through, tenant.tls
        if key not in self._lines:
            self._forget(now)
            self._lines[key] = _Line(randbelow(1 << 16) / (1 << 16), now, self._common.setdefault(credential, {}))
        line = self._lines[key]
        line.used = now
        return line

    def _forget(self, now: float) -> None:
        """Let go of what nobody has used for long."""
        for key in [key for key, line in self._lines.items() if line.flight is None and now - line.used > _FORGOTTEN_AFTER]:
            del self._lines[key]
        self._common = {credential: self._common[credential] for credential, *_ in self._lines}

    def _usable(self, line: _Line, resource: str) -> _Kept | None:
        kept = line.kept.get(resource)
        if kept is None:
            return None
        life = kept.token.expires - kept.token.issued
        return kept if life - self._age(kept) > min(_LAST_SECONDS, _SHORT_LIVED * life) else None

    def _age(self, kept: _Kept) -> float:
        """Seconds since the token came, by whichever clock says more: one stands while the machine sleeps, the other may be set back."""
        return max(self._clock() - kept.came, time.time() - kept.token.issued)

    def _rest(self, line: _Line, resource: str) -> _Rest | None:
        now = self._clock()
        known = [rests.get(name) for rests in (line.rests, line.common) for name in ("", resource)]
        rests = [rest for rest in known if rest is not None and rest.until > now]
        return max(rests, key=lambda rest: rest.until, default=None)

    def _renew_early(self, ctx: Context, wish: _Wish, line: _Line, kept: _Kept) -> None:
        life = kept.token.expires - kept.token.issued
        if self._age(kept) < life * (_RENEWED_AT - _JITTER * line.drift):
            return
        rest = self._rest(line, wish.resource)
        if rest is not None:
            ctx.evidence("token_renewal", f"failed {self._clock() - rest.asked:.0f} s ago: {rest.stopped.message}")
        elif line.flight is None:
            self._start(ctx, wish, line)

    async def _fetched(self, ctx: Context, wish: _Wish, line: _Line) -> Token:
        patient = True
        while True:
            flight = line.flight
            if flight is None:
                rest = self._rest(line, wish.resource)
                if rest is not None:
                    await self._wait_out(ctx, rest)
                    continue
                flight = self._start(ctx, wish, line)
            joined, late = perf_counter(), self._clock() - flight.began > _LATE_SECONDS
            await _end_of(ctx, flight, joined)
            result = flight.task.result()
            if late and patient and _is_fault(result) and _has_time(ctx, REST_SECONDS):
                patient, ctx.tainted = False, True
                continue
            if flight.resource == wish.resource or _is_for_all(result):
                _share(ctx, flight, joined)
                return _result(flight)
            ctx.tainted = True

    async def _wait_out(self, ctx: Context, rest: _Rest) -> None:
        """Wait until something may be asked again, or raise the failure again where that is not worth while."""
        now = self._clock()
        if rest.stopped.reason in _REFUSALS or isinstance(rest.stopped, Inconclusive) or not _has_time(ctx, rest.until - now):
            ctx.evidence("token_asked", f"{now - rest.asked:.0f} s ago")
            raise _again(rest.stopped, rest.until - now)
        ctx.tainted = True
        ctx.evidence("token_held", f"waited {rest.until - now:.0f} s, because the request before failed: {rest.stopped.message}")
        await asyncio.sleep(rest.until - now)

    def _start(self, ctx: Context, wish: _Wish, line: _Line) -> _Flight:
        own = Context(ctx.probe, ctx.shared, ctx.tenant)
        task = asyncio.get_running_loop().create_task(self._fly(own, wish, line), name="token")
        line.flight = _Flight(wish.resource, self._clock(), own, task)
        return line.flight

    async def _fly(self, ctx: Context, wish: _Wish, line: _Line) -> Token | Stopped:
        asked = self._clock()
        try:
            token = await self._asked(ctx, wish)
        except Stopped as stopped:
            # Later runs tell it as well, and know nothing of what this request carried.
            stopped.reword(ctx.masked(stopped.message))
            self._remember(line, wish.resource, stopped, asked)
            return stopped
        else:
            line.kept[wish.resource] = _Kept(token, self._clock())
            return token
        finally:
            line.flight = None

    async def _asked(self, ctx: Context, wish: _Wish) -> Token:
        # The flight before may have changed the refresh token.
        proof = await grant_of(ctx, wish.tenant) if wish.proof.kind == "grant" else wish.proof
        try:
            with ctx.step("token"):
                ctx.shared.part(Usage).count(ctx.tenant, wish.tenant, Service.LOGIN)
                async with asyncio.timeout(FLIGHT_SECONDS):
                    given = await ask(ctx, wish.tenant, proof, wish.resource, self._path)
        except TimeoutError as error:
            phase = ctx.blamed.open_phases[-1] if ctx.blamed and ctx.blamed.open_phases else ""
            message = f"no token within {FLIGHT_SECONDS:g} s" + (f", in phase {phase}" if phase else "")
            raise Failed(_TIMEOUTS.get(phase, Reason.TIMEOUT), message) from error
        if proof.kind == "grant" and given.refresh_token:
            path = grant_path(ctx.shared.state_dir, ctx.tenant)
            await ctx.shared.part(Grants).rotate(path, proof.value, given.refresh_token, given.token.issued)
        return given.token

    def _remember(self, line: _Line, resource: str, stopped: Stopped, asked: float) -> None:
        if stopped.reason is Reason.AGENT_RESOURCES:
            return
        rests = line.common if stopped.reason in _ANSWERED else line.rests
        if stopped.reason in _REFUSALS:
            rests[resource if _about_resource(stopped) else ""] = _Rest(stopped, asked, asked + REFUSED_SECONDS)
        else:
            seconds = min(max(REST_SECONDS, stopped.retry_after), LONGEST_REST_SECONDS)
            rests[""] = _Rest(stopped, asked, asked + seconds)


async def _end_of(ctx: Context, flight: _Flight, joined: float) -> None:
    """Wait for the end of a flight. A run that ends before it takes along what was known by then, and leaves the flight to the others."""
    try:
        await asyncio.wait({flight.task})
    except asyncio.CancelledError:
        _share(ctx, flight, joined)
        raise


def _share(ctx: Context, flight: _Flight, joined: float) -> None:
    """Give a run the flight's evidence, and its phases from the moment the run joined; of a flight under way the open phase as well."""
    ctx.secrets |= flight.context.secrets
    for name, value in flight.context.evidence_found.items():
        ctx.evidence(name, value)
    steps = flight.context.open_steps
    phases = _phases_so_far(steps[-1]) if steps else [phase for step in flight.context.steps for phase in step.phases]
    if steps and phases:
        ctx.open_steps[-1].open_phases.append(phases[-1][0])
    for name, seconds in _last(phases, perf_counter() - joined):
        ctx.add_phase(name, seconds)


def _phases_so_far(opened: OpenStep) -> list[tuple[str, float]]:
    """Return the phases of a request under way. After those that are timed as they begin comes the wait for an answer, timed at its end."""
    phases = list(opened.phases.items())
    name = opened.open_phases[-1] if opened.open_phases else "processing" if phases else ""
    under_way = perf_counter() - opened.started - sum(seconds for _, seconds in phases)
    return [*phases, (name, under_way)] if name else phases


def _last(phases: list[tuple[str, float]], seconds: float) -> list[tuple[str, float]]:
    """Return the last `seconds` of phases that followed each other."""
    kept: list[tuple[str, float]] = []
    for name, took in reversed(phases):
        if seconds > 0:
            kept.append((name, min(took, seconds)))
        seconds -= took
    return kept[::-1]


def _result(flight: _Flight) -> Token:
    result = flight.task.result()
    if isinstance(result, Stopped):
        raise _again(result, result.retry_after)
    return result


def _again(stopped: Stopped, retry_after: float) -> Stopped:
    """Return the same failure for one more run: a shared one would gather the tracebacks of all."""
    kind = Inconclusive if isinstance(stopped, Inconclusive) else Failed
    return kind(stopped.reason, stopped.message, code=stopped.code, retry_after=retry_after if stopped.reason is Reason.THROTTLED else 0.0)


def _is_fault(result: Token | Stopped) -> bool:
    """Tell whether a request failed by the network or the provider, which may be well again by now."""
    return isinstance(result, Failed) and result.reason not in _REFUSALS


def _is_for_all(result: Token | Stopped) -> bool:
    """Tell whether a request failed in a way that any other of the same credential would."""
    return isinstance(result, Stopped) and not _about_resource(result)


def _about_resource(stopped: Stopped) -> bool:
    number = stopped.code.removeprefix("AADSTS")
    return number.isdigit() and int(number) in FAULTS and FAULTS[int(number)].resource


def _has_time(ctx: Context, seconds: float) -> bool:
    return perf_counter() + seconds + _TIME_TO_GO_ON < ctx.deadline


def _tell(ctx: Context, token: Token) -> None:
    ctx.hide(token.value)
    ctx.evidence("token_expires", datetime.fromtimestamp(token.expires, UTC).isoformat(timespec="seconds"))
    if permissions := token.roles or token.scopes:
        ctx.evidence("token_roles", " ".join(sorted(permissions)))
