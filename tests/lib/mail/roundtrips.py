"""Round trips between the two mailboxes of a post office, run as the agent runs a probe."""

from dataclasses import dataclass, field

from agent.job import Job
from agent.runner import run_once
from probes.core.context import Context, Shared
from probes.core.contract import Layer, Place, Probe, Run, Settings, Workload
from probes.core.ledger import Artefact, MemoryLedger
from probes.lib.mail.letter import Letter, Template, new_letter
from probes.lib.mail.outstanding import Boxes, Own
from probes.lib.mail.trip import Judgement, Trip, round_trip
from tests.fakes.letterbox import Office
from tests.probes.pages import lookup, read

PLACE = Place(Layer.MAIL_TRANSPORT, Workload.EXCHANGE)
STEPS = ("sign_in", "submit", "transit", "seen", "headers", "cleanup")


class Nothing(Settings):
    """No settings."""


@dataclass(slots=True)
class Mail:
    """One probe and what lasts between its runs."""

    office: Office
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    shared: Shared = field(init=False)
    with_own: bool = True

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what a process keeps; the ledger stays."""
        self.shared = Shared(lookup, read, ledger=self.ledger)

    async def once(self, *, timeout: float = 10.0, judgement: Judgement | None = None) -> Run:  # noqa: ASYNC109 - the probe's setting
        """Run the probe once."""

        async def run(ctx: Context, _: Nothing) -> None:
            boxes = Boxes(self.office.to, Own(self.office.of, keeps_copies=self.office.copies) if self.with_own else None)
            await round_trip(ctx, Trip(letter(), self.office, boxes, judgement or Judgement()))

        probe = Probe(run, Nothing, place=lambda _: PLACE, steps=STEPS)
        return await run_once(Job("mail", "mail_roundtrip", probe, Nothing(), 600.0, timeout, PLACE), self.shared)

    def outstanding(self) -> tuple[Artefact, ...]:
        """Return what the ledger has of the probe."""
        return self.ledger.outstanding("mail")

    async def age(self, seconds: float) -> None:
        """Let everything on the ledger be older."""
        for kept in self.outstanding():
            facts = dict(kept.facts) | {"accepted": repr(float(kept.fact("accepted")) - seconds)}
            await self.ledger.record("mail", Artefact(kept.id, kept.kind, kept.created - seconds, tuple(facts.items())))


def letter() -> Letter:
    """Write a letter from the one mailbox to the other."""
    return new_letter("mail", "probe1@contoso.example", "probe2@contoso.example", Template())


def measured(run: Run) -> dict[str, float]:
    """Return what a run measured, by name and labels."""
    return {" ".join((sample.name, *sample.labels)): sample.value for sample in run.measured}
