"""Mistakes in a configuration: values with a place, collected until all are known, and never with a secret's value in them."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from probes.core.contract import Secret

MISTAKES_SHOWN = 100
"""Most mistakes listed; a file that is wrong throughout needs no more to be understood."""

_WORD_SHOWN = 60
_WHERE_SHOWN = 200
_SENTENCE_SHOWN = 600
_LIST_SHOWN = 300


class Positioned(Protocol):
    """Anything with a place in a file; lines and columns count from 1, columns in characters."""

    @property
    def line(self) -> int:
        """Line."""
        ...

    @property
    def column(self) -> int:
        """Column."""
        ...


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file."""

    line: int
    column: int


START = Spot(1, 1)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, or doubtful: where it stands, what it belongs to, and what was probably meant."""

    file: str
    line: int
    column: int
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.where}: {self.what}"


class ConfigurationError(Exception):
    """A configuration that cannot be used. Its text is the whole message, one mistake a line."""

    def __init__(self, mistakes: tuple[Mistake, ...], more: int = 0, secrets: tuple[Secret, ...] = ()) -> None:
        """Tell the mistakes, in the order of files and lines, and how many more there are.

        `secrets` are those it names, and its files in their form: one of them may only have to appear to make it right.
        """
        super().__init__(mistakes, more)
        self.mistakes = mistakes
        self.more = more
        self.secrets = secrets

    def __str__(self) -> str:
        lines = [str(mistake) for mistake in self.mistakes]
        return "\n".join([*lines, f"and {self.more} more"] if self.more else lines)


@dataclass(slots=True)
class Notes:
    """Everything found so far, over all files."""

    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)
    spoiled: set[tuple[str, int, int]] = field(default_factory=set)
    """Places where a word is wrong whatever it is for, so that nothing more is said about it."""

    def raise_if_any(self, secrets: tuple[Secret, ...] = ()) -> None:
        """End with what was found, if anything was, in a configuration that names these secrets.

        Raises:
            ConfigurationError: with the first hundred mistakes.

        """
        if self.mistakes:
            found = in_order(self.mistakes)
            raise ConfigurationError(found[:MISTAKES_SHOWN], max(0, len(found) - MISTAKES_SHOWN), secrets)


@dataclass(frozen=True, slots=True)
class Page:
    """One file, and where to note what is wrong in it."""

    file: str
    notes: Notes

    def mistake(self, at: Positioned, where: str, what: str) -> None:
        """Note a mistake."""
        if (self.file, at.line, at.column) not in self.notes.spoiled:
            self.notes.mistakes.append(self._noted(at, where, what))

    def spoilt(self, at: Positioned, where: str, what: str) -> None:
        """Note a word that is wrong whatever it is for."""
        self.mistake(at, where, what)
        self.notes.spoiled.add((self.file, at.line, at.column))

    def warning(self, at: Positioned, where: str, what: str) -> None:
        """Note something that works, but should not stay."""
        self.notes.warnings.append(self._noted(at, where, what))

    def _noted(self, at: Positioned, where: str, what: str) -> Mistake:
        return Mistake(_in_a_line(self.file), at.line, at.column, _in_a_line(where)[:_WHERE_SHOWN], _in_a_line(what)[:_SENTENCE_SHOWN])


def _in_a_line(text: str) -> str:
    """Return text without what could begin a line or move a terminal's cursor."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def in_order(found: Collection[Mistake]) -> tuple[Mistake, ...]:
    """Sort by file, line and column; what many probes have from one anchor is said once."""
    first: dict[tuple[str, int, int, str], Mistake] = {}
    for mistake in found:
        first.setdefault((mistake.file, mistake.line, mistake.column, mistake.what), mistake)
    return tuple(sorted(first.values(), key=lambda mistake: (mistake.file, mistake.line, mistake.column)))


def shown(word: object) -> str:
    """Return a word of the file for a message: in backticks, short, and without characters that could move a terminal's cursor."""
    text = str(word)
    cut = text if len(text) <= _WORD_SHOWN else text[:_WORD_SHOWN] + "…"
    return f"`{_in_a_line(cut)}`"


def meant(word: str, known: Collection[str]) -> str:
    """Return what was probably meant, as the end of a sentence, or ""."""
    spelt = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word[:_WORD_SHOWN].lower(), spelt, n=1, cutoff=0.6)
    return f"; did you mean {shown(spelt[near[0]])}?" if near else ""


def meant_or_known(word: str, known: Collection[str]) -> str:
    """Return what was probably meant, or where nothing is near all that is known, if that is not too long."""
    listed = ", ".join(sorted(known))
    return meant(word, known) or (f"; known are {listed}" if listed and len(listed) < _LIST_SHOWN else "")
