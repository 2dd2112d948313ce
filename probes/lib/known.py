"""What of that which the settings name has answered: what never did is probably misspelt, what did is gone, which is another matter."""

from collections.abc import Iterator
from contextlib import contextmanager

from probes.core.context import Context
from probes.core.contract import Failed, Stopped
from probes.core.reasons import Reason

_NEVER = "no run since the agent's start has shown that `{setting}` is right, so look for the mistake there first"
_NO_LONGER = "`{setting}` was right before: what it names was removed, moved or renamed since, or is lost"


class Known(set[tuple[str, ...]]):
    """Tenants (or servers) and names of what has answered since the agent's start: `ctx.shared.part(Known)`."""


def remember(ctx: Context, *name: str) -> None:
    """Remember that what has this name has answered."""
    ctx.shared.part(Known).add(name)


def is_known(ctx: Context, *name: str) -> bool:
    """Say whether it has answered since the agent's start."""
    return name in ctx.shared.part(Known)


def not_there(stopped: Stopped, message: str, *, known: bool) -> Failed:
    """Return what it means that something is not there: NOT_FOUND where it is known; else the fault is in the settings, APP_CONFIG."""
    reason = Reason.NOT_FOUND if known else Reason.APP_CONFIG
    return Failed(reason, message, code=stopped.code, step=stopped.step, retry_after=stopped.retry_after)


@contextmanager
def named(ctx: Context, setting: str, *name: str, hint: str = "", codes: frozenset[str] = frozenset()) -> Iterator[None]:
    """Ask within the block for what `setting` names, and know it from then on; never for what a run has made itself.

    `name` is what tells it from all others of this setting, `hint` what helps, `codes` are those that mean a wrong name, too.

    Raises:
        Failed: APP_CONFIG where it is not found, or stops with one of the codes, and has never answered; NOT_FOUND, in clearer words, where
            it has; any other as it was.

    """
    try:
        yield
    except Failed as failed:
        known = is_known(ctx, ctx.tenant, setting, *name)
        if failed.reason is not Reason.NOT_FOUND and (known or failed.code not in codes):
            raise
        words = (_NO_LONGER if known else _NEVER).format(setting=setting)
        raise not_there(failed, "; ".join(filter(None, (failed.message, hint, words))), known=known) from failed
    remember(ctx, ctx.tenant, setting, *name)
