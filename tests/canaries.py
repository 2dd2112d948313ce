"""What must never be seen in any output: the secrets and tokens that tests hand to the agent.

The simulated tenant's secrets and refresh tokens have a shape that nothing else has, and so has every access token (a JWT).
"""

import re

CANARY = "canary-6f1d0c5e2b7a4938"
"""A secret of a test's own, where a simulated tenant has none."""

_SECRET = re.compile(r"canary-[0-9a-f]{16}|drill~[0-9a-f-]{30,}|eyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY")


def secret_in(text: str) -> str:
    """Return the beginning of the first secret in a text, or ""."""
    found = _SECRET.search(text)
    return "" if found is None else f"{found.group()[:10]}…"
