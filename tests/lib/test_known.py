"""What the settings name is looked for in the settings until it has answered once, and told as missing from then on."""

import pytest

from probes.core.context import Context, Shared
from probes.core.contract import Failed, Inconclusive, Stopped
from probes.core.reasons import BLAME, Blame, Reason
from probes.lib.known import named
from tests.probes.pages import lookup, read

MISSING = Failed(Reason.NOT_FOUND, "answered with 404", code="itemNotFound", step="site", retry_after=7)


def ask(shared: Shared, stopped: Stopped | None = None, *, tenant: str = "contoso", name: tuple[str, ...] = ("one",)) -> Stopped | None:
    """Ask for a site, and return what that comes to."""
    try:
        with named(Context("probe", shared, tenant), "site", *name, hint="there is no site", codes=frozenset({"invalidRequest"})):
            if stopped is not None:
                raise stopped
    except Stopped as told:
        return told
    return None


@pytest.fixture
def shared() -> Shared:
    return Shared(lookup, read)


def reason(told: Stopped | None) -> Reason | None:
    return None if told is None else told.reason


def test_what_has_never_answered_is_our_fault_and_the_setting_is_named(shared: Shared) -> None:
    told = ask(shared, MISSING)
    assert told is not None
    assert (told.reason, BLAME[told.reason], told.code, told.step, told.retry_after) == (
        Reason.APP_CONFIG, Blame.OURS, "itemNotFound", "site", 7,
    )  # fmt: skip
    assert told.message.startswith("answered with 404; there is no site; ")
    assert "`site`" in told.message


def test_what_has_answered_before_is_missing(shared: Shared) -> None:
    assert ask(shared) is None
    told = ask(shared, MISSING)
    assert told is not None
    assert (told.reason, told.code, "`site` was right before" in told.message) == (Reason.NOT_FOUND, "itemNotFound", True)


def test_a_failure_shows_nothing_and_an_answer_is_kept(shared: Shared) -> None:
    assert [reason(ask(shared, MISSING)) for _ in range(2)] == [Reason.APP_CONFIG] * 2
    ask(shared)
    assert [reason(ask(shared, MISSING)) for _ in range(2)] == [Reason.NOT_FOUND] * 2


@pytest.mark.parametrize(("tenant", "name"), [("fabrikam", ("one",)), ("contoso", ("two",)), ("contoso", ("one", "more"))], ids=str)
def test_another_name_or_tenant_has_shown_nothing(shared: Shared, tenant: str, name: tuple[str, ...]) -> None:
    ask(shared)
    assert reason(ask(shared, MISSING, tenant=tenant, name=name)) is Reason.APP_CONFIG


@pytest.mark.parametrize(("before", "after"), [(False, Reason.APP_CONFIG), (True, Reason.HTTP_4XX)], ids=["never", "answered"])
def test_another_sign_of_a_wrong_name_is_one_only_until_it_has_answered(shared: Shared, before: bool, after: Reason) -> None:  # noqa: FBT001
    if before:
        ask(shared)
    assert reason(ask(shared, Failed(Reason.HTTP_4XX, "answered with 400", code="invalidRequest"))) is after


@pytest.mark.parametrize(
    "stopped",
    [
        Failed(Reason.HTTP_5XX, "down"),
        Failed(Reason.HTTP_4XX, "locked", code="resourceLocked"),
        Failed(Reason.PERMISSION, "no"),
        Inconclusive(Reason.THROTTLED, "slower"),
    ],
    ids=lambda stopped: stopped.reason.value,
)
def test_what_is_no_sign_of_a_wrong_name_stays_as_it_was(shared: Shared, stopped: Stopped) -> None:
    assert ask(shared, stopped) is stopped
    assert reason(ask(shared, MISSING)) is Reason.APP_CONFIG
