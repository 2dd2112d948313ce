"""The values of secrets. They are kept here and nowhere else: not in a job, not in a message, not in a `repr`."""

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import final

from probes.core.contract import Inconclusive, Secret
from probes.core.reasons import Reason

log = logging.getLogger("fogbell.secrets")

LARGEST_BYTES = 1_000_000

_SENSITIVE = re.compile(r"authorization|cookie|api[-_]?key|token|secret|password", re.IGNORECASE)

_HALVES = re.compile("[\ud800-\udfff]")
# What Python makes of bytes in the environment that are not UTF-8; nothing that is sent can hold them.


class SecretError(Exception):
    """A secret that cannot be read; the message says why, and never what was read."""


def read(secret: Secret) -> str:
    """Return the value of a secret.

    Raises:
        SecretError: where there is none.

    """
    if secret.inline is not None:
        return secret.inline
    value = _from_environment(secret.env) if secret.env is not None else _text(beginning(secret.file or "", LARGEST_BYTES + 1))
    if not value:
        raise SecretError("the secret is empty")
    return value


def _from_environment(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise SecretError("this environment variable is not set")
    if not value.isascii() and _HALVES.search(value):
        raise SecretError("this environment variable is not UTF-8 text")
    return value


def beginning(path: str, size: int) -> bytes:
    """Return the first bytes of a file, `size` at most.

    Raises:
        SecretError: where it cannot be read.

    """
    try:
        if not Path(path).is_file():
            raise SecretError("this file does not exist" if not Path(path).exists() else "this is not a file")
        with Path(path).open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise SecretError(f"this file cannot be read: {error.strerror or 'no reason given'}") from error
    except ValueError as error:
        raise SecretError("this is not the path of a file") from error


def _text(data: bytes) -> str:
    if len(data) > LARGEST_BYTES:
        raise SecretError("this file is larger than a secret can be (1 MB)")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SecretError("this file is not UTF-8 text") from error
    return text.removesuffix("\n").removesuffix("\r")


@final
class Secrets:
    """The values in use. Reading is for a moment off the loop (`refresh`); asking for one is a look into a dict.

    A secret that can no longer be read keeps its last value, and one line is logged when that begins and when it ends.
    """

    __slots__ = ("_unreadable", "_values")

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._values: dict[Secret, str] = {}
        self._unreadable: set[Secret] = set()
        self.refresh(secrets)

    def __call__(self, secret: Secret) -> str:
        """Return the value.

        Raises:
            Inconclusive: where it could never be read.

        """
        if secret in self._values:
            return self._values[secret]
        try:
            return self._values.setdefault(secret, read(secret))
        except SecretError as error:
            raise Inconclusive(Reason.AGENT_RESOURCES, f"the secret {described(secret)} cannot be read: {error}") from error

    def __repr__(self) -> str:
        return f"<{len(self._values)} secrets>"

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Which secrets could not be read last time, as they are written in the configuration."""
        return tuple(sorted(described(secret) for secret in self._unreadable))

    def refresh(self, secrets: Iterable[Secret] | None = None) -> None:
        """Read anew all secrets, and forget those that are no longer named. May be called in a thread."""
        wanted = tuple(self._values) + tuple(self._unreadable) if secrets is None else tuple(secrets)
        values: dict[Secret, str] = {}
        unreadable: set[Secret] = set()
        for secret in dict.fromkeys(wanted):
            try:
                values[secret] = read(secret)
            except SecretError as error:
                unreadable.add(secret)
                self._tell(secret, error)
                if secret in self._values:
                    values[secret] = self._values[secret]
        for secret in self._unreadable - unreadable:
            log.info("a secret can be read again", extra={"secret": described(secret)})
        self._values, self._unreadable = values, unreadable

    def _tell(self, secret: Secret, error: SecretError) -> None:
        if secret not in self._unreadable:
            log.warning("a secret cannot be read; its last value stays", extra={"secret": described(secret), "error": str(error)})


def described(secret: Secret) -> str:
    """Return a secret as it is written in the configuration; one written in place only as `<secret>`."""
    if secret.env is not None:
        return f"{{env: {secret.env}}}"
    return f"{{file: {secret.file}}}" if secret.file is not None else "<secret>"


def is_sensitive(key: str) -> bool:
    """Tell whether a key's name says that a text under it is a secret."""
    return _SENSITIVE.search(key) is not None


LOGIN = re.compile(r"(?<=://)[^/]+(?=@)")
"""What stands before the host of a URL."""


def has_password(text: str) -> bool:
    """Tell whether a text is a URL with a password in it."""
    found = LOGIN.search(text)
    return found is not None and ":" in found.group()
