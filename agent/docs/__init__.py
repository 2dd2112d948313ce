"""The generated pages: what people read about settings, metrics and reasons, made from the code so that it cannot drift."""

from pathlib import Path

from agent.docs.reference import reference

REFERENCE = Path("config/reference.md")


def generate() -> dict[Path, str]:
    """Return every generated page by its path from the root of the repository."""
    return {REFERENCE: reference()}
