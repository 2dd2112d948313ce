"""What is said at a login by SASL (RFC 4422): XOAUTH2, PLAIN and LOGIN, the same for SMTP, IMAP and POP3.

XOAUTH2 is Microsoft's and Google's: `user=` USER ^A `auth=Bearer ` TOKEN ^A ^A, in base64
(learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth).
"""

import base64
import binascii
import json
from collections.abc import Mapping
from itertools import takewhile

from probes.core.contract import Failed
from probes.core.reasons import Reason

_CHALLENGE_CHARACTERS = 4096
_SHORTEST_HIDDEN = 4
_TELLING = 8
# So many characters of a secret's beginning are no accident.


def xoauth2(user: str, token: str) -> str:
    """Return the one response of XOAUTH2.

    Raises:
        Failed: CREDENTIAL_INVALID for a name or token with a control character, which would end its field.

    """
    return _base64(f"user={_sendable(user)}\x01auth=Bearer {_sendable(token)}\x01\x01")


def plain(user: str, password: str) -> str:
    """Return the one response of PLAIN (RFC 4616): no identity but the user's own.

    Raises:
        Failed: CREDENTIAL_INVALID for a name or password with a NUL.

    """
    return _base64(f"\0{_without_nul(user)}\0{_without_nul(password)}")


def login(user: str, password: str) -> tuple[str, str]:
    """Return the two responses of LOGIN (draft-murchison-sasl-login): the name, then the password."""
    return _base64(user), _base64(password)


def complaint(challenge: str) -> str:
    """Return what XOAUTH2 says in the challenge of a refusal, as "status 400, schemes bearer"; "" where it cannot be read.

    The client has to answer that challenge with an empty line; only then the refusal itself comes.
    """
    try:
        told = json.loads(base64.b64decode(challenge[:_CHALLENGE_CHARACTERS], validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return ""
    facts = told if isinstance(told, Mapping) else {}
    return ", ".join(f"{name} {facts[name]}" for name in ("status", "schemes", "scope") if isinstance(facts.get(name), str | int))


def without_secret(text: str, user: str, secret: str) -> str:
    """Return what a server said without our password or token, in case it repeats what it heard, whole or cut off."""
    quoted = secret.replace("\\", "\\\\").replace('"', '\\"')
    said = (secret, quoted, _base64(secret), _base64(f"\0{user}\0{secret}"), _base64(f"user={user}\x01auth=Bearer {secret}\x01\x01"))
    for form in sorted((form for form in said if len(form) >= _SHORTEST_HIDDEN), key=len, reverse=True):
        text = _hidden(text, form)
    return text


def _hidden(text: str, form: str) -> str:
    """Hide whatever begins as `form` does, as far as it goes on like it."""
    at = text.find(form[:_TELLING])
    while at >= 0:
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text[at:], form, strict=False)))
        text = f"{text[:at]}…{text[at + alike :]}"
        at = text.find(form[:_TELLING], at)
    return text


def _base64(text: str) -> str:
    return base64.b64encode(text.encode(errors="surrogateescape")).decode("ascii")


def _sendable(text: str) -> str:
    if any(character < " " for character in text):
        raise Failed(Reason.CREDENTIAL_INVALID, "the user name or token contains a control character, which a login cannot carry")
    return text


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise Failed(Reason.CREDENTIAL_INVALID, "the user name or password contains a NUL, which a login cannot carry")
    return text
