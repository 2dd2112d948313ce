"""A ledger that lasts as long as the process."""

from probes.core.ledger import Artefact, MemoryLedger


async def test_it_keeps_each_probe_apart_and_the_oldest_first() -> None:
    ledger = MemoryLedger()
    young, old = Artefact("b", "message", 2.0, (("folder", "junk"),)), Artefact("a", "message", 1.0)
    await ledger.record("mail", young)
    await ledger.record("mail", old)
    await ledger.record("other", young)
    assert ledger.outstanding("mail") == (old, young)
    await ledger.strike("mail", "a")
    await ledger.strike("nobody", "a")
    assert (ledger.outstanding("mail"), ledger.outstanding("nobody")) == ((young,), ())
    assert (young.fact("folder"), old.fact("folder")) == ("junk", "")
