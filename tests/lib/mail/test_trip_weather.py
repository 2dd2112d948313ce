"""Whatever becomes of letters, in whatever order, with restarts in between: in the end each is accounted for, and nothing is left."""

from dataclasses import dataclass, field
from random import Random

import pytest

from probes.core.contract import Failed, Outcome, Run
from probes.core.reasons import Reason
from probes.lib.mail import outstanding
from probes.lib.mail.ends import Folder, SubmissionUncertain
from probes.lib.mail.letter import Letter
from probes.lib.mail.outstanding import DAY
from probes.lib.mail.report import Report
from tests.fakes.letterbox import Office
from tests.lib.mail.roundtrips import Mail

FATES = ("arrives", "arrives", "junk", "twice", "held", "lost", "bounces", "refused", "taken and cut off", "not taken and cut off")
BROKEN = Failed(Reason.HTTP_5XX, "no answer")
CUT = SubmissionUncertain(Reason.CONNECTION_RESET, "cut off")


@dataclass(slots=True)
class Weather:
    """Decides what becomes of each letter, and remembers what must come of it."""

    chance: Random
    mail: Mail
    held: list[Letter] = field(default_factory=list)
    lost: int = 0
    counted: int = 0

    async def day(self) -> None:
        """Run the probe once, in the weather of the day."""
        office = self.mail.office
        fate = self.chance.choice(FATES)
        office.fate = lambda office, sent: self.decide(office, sent, fate)
        office.refusal_after = CUT if fate == "taken and cut off" else None
        office.refusal = {"refused": Failed(Reason.MAIL_REJECTED, "no"), "not taken and cut off": CUT}.get(fate)
        for box in (office.to, office.of):
            box.broken_to_remove = BROKEN if self.chance.random() < 0.2 else None
        if self.chance.random() < 0.2:
            self.mail.restart()
        if self.held and self.chance.random() < 0.3:
            office.to.put(self.held.pop())
        self.count(await self.mail.once(timeout=1.0))

    def decide(self, office: Office, sent: Letter, fate: str) -> None:
        if fate in {"arrives", "twice", "taken and cut off"}:
            office.to.put(sent)
        if fate == "twice":
            office.to.put(sent)
        if fate == "junk":
            office.to.put(sent, Folder.JUNK)
        if fate == "held":
            self.held.append(sent)
        if fate == "lost":
            self.lost += 1
        if fate == "bounces":
            office.of.put(sent, report=Report(sent.tag, "failed", "5.1.1", "550 5.1.1 nobody"))

    def count(self, run: Run) -> None:
        self.counted += sum(int(sample.value) for sample in run.measured if sample.name == "lost_total")

    async def clear_up(self) -> None:
        """Let the sun shine: what is held arrives, everything works, and a day goes by."""
        office = self.mail.office
        for one in self.held:
            office.to.put(one)
        office.fate = office.refusal = office.refusal_after = office.to.broken_to_remove = office.of.broken_to_remove = None
        for _ in range(3):
            run = await self.mail.once()
            assert (run.outcome, run.cleanup_failed) == (Outcome.OK, False)
            self.count(run)
        assert (office.to.kept, office.of.kept) == ({}, {})
        await self.mail.age(DAY + 1)
        for _ in range(2):
            run = await self.mail.once()
            self.count(run)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("copies", [True, False], ids=["with copies", "without copies"])
async def test_in_the_end_each_letter_is_accounted_for_and_nothing_is_left(
    seed: int, monkeypatch: pytest.MonkeyPatch, *, copies: bool
) -> None:
    monkeypatch.setattr(outstanding, "_RESERVED_SHARE", 0.95)
    weather = Weather(Random(seed), Mail(Office(copies=copies)))  # noqa: S311 - weather, no secret
    for _ in range(15):
        await weather.day()
    await weather.clear_up()
    assert weather.mail.outstanding() == ()
    assert weather.counted == weather.lost
