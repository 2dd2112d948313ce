"""A refusal although the token carries the permission: somebody lacks a right that no permission covers.

Teams answers alike, 403 with the bare code Forbidden, whether a permission is missing, an access policy or a membership. What the token
carries tells the first from the others.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from probes.core.contract import Failed
from probes.core.reasons import Reason
from probes.lib.tokens import Token

_BARE = frozenset({"Forbidden", "Unauthorized", "403"})
# What Teams says for all of it; a code that knows better keeps its own meaning.


@contextmanager
def entitled(token: Token, permission: str, code: str, words: str) -> Iterator[None]:
    """Give a refusal within the block this code, and these words behind it, where the token carries the permission.

    Raises:
        Failed: PERMISSION, as it was or in these words; any other as it was.

    """
    try:
        yield
    except Failed as failed:
        carried = token.scopes or token.roles
        if failed.reason is not Reason.PERMISSION or failed.code not in _BARE or permission not in carried:
            raise
        raise Failed(Reason.PERMISSION, f"{failed.message}, and the token carries {permission}: {words}", code=code) from failed
