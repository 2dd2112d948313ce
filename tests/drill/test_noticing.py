"""Which probes of the demo each shipped outage turns red, and which stay green: what README of the outages says, seen on a whole tenant."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.config import Secrets, load
from agent.drill import outage as outages
from agent.drill.faults import Fault, StatusSource
from agent.drill.graph.post import Post
from agent.drill.graph.security import Security
from agent.drill.graph.teams import Teams
from agent.drill.lossy import DROPS
from agent.drill.outage import Outage, find, schedule, shipped
from agent.drill.tenant import Tenant, tenant
from agent.job import Job
from agent.runner import of_this_machine, run_once
from agent.web.areas import Area, area_of
from probes import purview_audit, teams_member
from probes.core.contract import Outcome, Run

PAGE = Path(outages.__file__).with_name("outages") / "README.md"
SECONDS = 6.0
"""Deadline of each run, for a machine that has other things to do. Only what waits for what will not come takes so long."""
SILENT = frozenset({"L02", "R02", "R03", "R10", "R11", "R20"})
"""Outages that leave so many without an answer that the others have it soon."""
FIRST = frozenset({"search_freshness"})
"""Kinds that only place what they look for the first time, so that an outage finds them in their second run."""


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teams_member, "PACE_SECONDS", 0.0)
    monkeypatch.setattr(purview_audit, "_FIRST", 0.1)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Tenant]:
    """Run the tenant of the demo without its delays."""
    async with tenant(folder) as here:
        here.world.of(Post).delay = 0.1
        here.world.of(Teams).shows_after = 0.0
        here.world.of(Security).search_seconds = 0.0
        yield here


@dataclass(frozen=True, slots=True)
class Look:
    """One probe and its run."""

    job: Job
    run: Run

    @property
    def why(self) -> tuple[str, str]:
        return self.run.failed_step, str(self.run.reason)


async def run_all(here: Tenant, state: Path, only: frozenset[str] = frozenset(), most: float = SECONDS) -> tuple[Look, ...]:
    """Run every probe of the ready configuration once, or those of some kinds, for `most` seconds each."""
    assert "$" not in here.config.read_text()
    configuration = load(here.config)
    shared = of_this_machine(Secrets(configuration.secrets), configuration.tenants, str(state))
    jobs = [replace(job, timeout=most) for job in configuration.jobs if not only or job.kind in only]
    return tuple(map(Look, jobs, await asyncio.gather(*(run_once(job, shared) for job in jobs))))


def worst(outage: Outage) -> list[Fault]:
    """Give the faults of the phase that hits most, hitting everybody. What service health says of it is none of them."""
    faults = [fault for fault in schedule(outage, 0.0) if not isinstance(fault.effect, StatusSource)]
    begins = max(faults, key=lambda fault: fault.share).first
    return [replace(fault, share=1.0, first=0.0, until=4e9) for fault in faults if fault.first == begins]


async def during(folder: Path, wanted: str) -> tuple[Look, ...]:
    """Run everything while the worst of an outage holds."""
    async with running(folder) as here:
        await run_all(here, folder / "state", FIRST)
        outage = find(wanted)
        here.world.region = outage.region
        here.world.faults.set(*worst(outage))
        return await run_all(here, folder / "state", most=2.0 if wanted in SILENT else SECONDS)


def red(looks: tuple[Look, ...]) -> dict[str, tuple[str, str]]:
    """Give step and reason of what fails."""
    return {look.job.name: look.why for look in looks if look.run.outcome is Outcome.FAILED}


def uncertain(looks: tuple[Look, ...]) -> dict[str, tuple[str, str]]:
    """Give step and reason of what says nothing."""
    return {look.job.name: look.why for look in looks if look.run.outcome is Outcome.INCONCLUSIVE}


def written(wanted: str, names: set[str]) -> set[str]:
    """Return the probes that the page says turn red, out of all there are."""
    (row,) = re.findall(rf"(?m)^\| {wanted} \| (.*) \|$", PAGE.read_text())
    if row.startswith("nothing"):
        return set()
    named = set(re.findall(r"`([a-z-]+)`", row))
    assert named <= names
    return names - named if row.startswith("all") else named


def areas_of(looks: tuple[Look, ...], names: Iterable[str]) -> set[Area]:
    wanted = set(names)
    return {area_of(look.job) for look in looks if look.job.name in wanted}


async def test_every_probe_of_the_ready_configuration_succeeds_while_nothing_is_broken(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        looks = await run_all(here, tmp_path / "state")
    assert red(looks) | uncertain(looks) == {}
    assert areas_of(looks, (look.job.name for look in looks)) == set(Area)


KNOWN = {
    "R15": {"mail-domain": ("spf", "dns_own_record")},
    "R18": {"teams-message": ("token", "interaction_required")},
    "L01": {"mail-domain": ("query", "dns_timeout")},
    "L03": {"admin-centre": ("request", "tls_untrusted"), "graph": ("token", "tls_untrusted")},
    "L04": {"token": ("token", "credential_expired"), "graph": ("token", "credential_expired")},
    "L06": {"mail-inside": ("transit", "mailbox_full"), "mail-inbound": ("submit", "mailbox_full")},
}
"""Step and reason of some."""


@pytest.mark.skipif(not DROPS, reason="only Linux drops SYNs for us")
@pytest.mark.parametrize("wanted", [found.id.partition("_")[0] for found in shipped() if not found.id.startswith(("R01", "L05"))])
async def test_an_outage_turns_red_what_the_page_says_and_nothing_else(tmp_path: Path, wanted: str) -> None:
    looks = await during(tmp_path, wanted)
    assert red(looks).keys() == written(wanted, {look.job.name for look in looks})
    assert KNOWN.get(wanted, {}).items() <= red(looks).items()


async def test_calls_of_our_own_that_are_limited_make_nothing_red_at_once(tmp_path: Path) -> None:
    looks = await during(tmp_path, "L05")
    assert red(looks).keys() == written("L05", {look.job.name for look in looks}) == set()
    assert {"graph": ("organization", "throttled"), "microsoft-says": ("overviews", "throttled")}.items() <= uncertain(looks).items()


async def test_the_outage_of_january_turns_exactly_the_right_cells_red(tmp_path: Path) -> None:
    looks = await during(tmp_path, "R01")
    assert red(looks) == {
        "mail-domain": ("mx_target", "dns_servfail"),
        "mx-and-its-target": ("follow", "dns_servfail"),
        "smtp-recipient": ("dialogue", "mail_deferred"),
        "mail-inside": ("transit", "mail_late"),
        "mail-inbound": ("submit", "mail_deferred"),
        "mail-submitted": ("submit", "mail_deferred"),
        "search": ("drive_search", "http_5xx"),
        "search-freshness": ("search", "http_5xx"),
        "teams-new-chat": ("create", "http_5xx"),
        "teams-membership": ("add", "http_5xx"),
        "teams-meeting": ("create", "http_5xx"),
        "teams-presence": ("presence", "http_5xx"),
        "admin-centre": ("verify", "http_5xx"),
        "purview": ("verify", "http_5xx"),
        "defender": ("verify", "http_5xx"),
    }
    assert uncertain(looks) == {"microsoft-says": ("overviews", "throttled")}
    assert red(looks).keys() == written("R01", {look.job.name for look in looks})
    assert areas_of(looks, red(looks)) == {Area.MAIL, Area.SEARCH, Area.TALK, Area.PORTALS, Area.NAMES}
    assert {"site-file", "onedrive-file", "token", "sign-in", "graph", "teams", "teams-calls"}.isdisjoint(red(looks))
