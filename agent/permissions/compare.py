"""What a token may do beside what the probes need: too little, too much."""

from collections.abc import Collection
from dataclasses import dataclass

from agent.permissions.demand import Demand
from probes.core.needs import Api, Grant, Scope

SIGN_IN = frozenset({"openid", "profile", "email", "offline_access"})
"""Delegated permissions that belong to signing in itself (OpenID Connect Core 1.0, 5.4 and 11)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Permissions of one sort in one API: those needed and not granted, those granted and not needed, and why the latter are too much.

    `problem` says why they could not be looked at, where they could not.
    """

    api: Api
    grant: Grant
    missing: tuple[str, ...] = ()
    excessive: tuple[tuple[str, str], ...] = ()
    problem: str = ""

    @property
    def is_right(self) -> bool:
        """Whether exactly what is needed is granted."""
        return not self.missing and not self.excessive and not self.problem


def compared(demand: Demand, api: Api, grant: Grant, held: Collection[str]) -> Comparison:
    """Compare what a token holds (claim `roles`, or `scp` of a delegated one) with the need."""
    wanted = {need.name for need in demand.of(grant, api)}
    extra = set(held) - wanted - (SIGN_IN if grant is Grant.DELEGATED else frozenset())
    return Comparison(
        api, grant, tuple(sorted(wanted - set(held))), tuple((name, _objection(demand, grant, name)) for name in sorted(extra))
    )


def _objection(demand: Demand, grant: Grant, name: str) -> str:
    """Say why a permission is too much."""
    if name in {need.name for need in demand.narrowed(Scope.MAILBOXES)}:
        return "granted in Entra it reaches every mailbox; RBAC for Applications adds to that and takes nothing away"
    if name in {need.name for need in demand.needs if need.grant is Grant.APPLICATION}:
        return "is needed as an application permission only"
    if name in {need.name for need in demand.needs}:
        return "is needed as a delegated permission only"
    wider = demand.wider(grant, name)
    return f"{wider}, which is needed as well, covers it" if wider else "no probe needs it"
