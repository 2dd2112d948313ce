"""config/reference.md: every setting, step, metric and reason."""

from probes.core.reasons import BLAME, MEANING


def reference() -> str:
    """Return the page."""
    rows = "".join(f"| `{reason}` | {BLAME[reason]} | {meaning} |\n" for reason, meaning in MEANING.items())
    return f"# Reference\n\n## Reasons\n\n| reason | blame | meaning |\n|---|---|---|\n{rows}"
