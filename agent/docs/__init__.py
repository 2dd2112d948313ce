"""The generated pages: what people read about settings, metrics and reasons, made from the code so that it cannot drift."""

import json
from pathlib import Path

from agent.docs.reference import reference
from agent.docs.schema import schema

REFERENCE = Path("config/reference.md")
SCHEMA = Path("config/schema.json")


def generate() -> dict[Path, str]:
    """Return every generated page by its path from the root of the repository."""
    return {REFERENCE: reference(), SCHEMA: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"}
