"""Who may come in: basic authentication against bcrypt hashes, checked off the loop, and remembered so that a scrape pays once."""

import asyncio
import binascii
import hashlib
import os
from base64 import b64decode
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import bcrypt
from aiohttp import web
from aiohttp.typedefs import Handler

_REMEMBERED = 100
_WAITING = 32
"""Passwords being checked at once; more come only from somebody who guesses."""

_NOBODY = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8Z8Z1o3mFq6oXWdoGqk2kq8V8h8S6K"
"""Checked for a user that does not exist, so that the time tells nothing. The hash of no password anybody knows."""


class Guard:
    """Checks passwords against users that may change at any time."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self._checking = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._salt = os.urandom(16)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._waiting = 0

    async def admits(self, authorization: str) -> bool:
        """Tell whether the value of an Authorization header opens the door. It does for everybody where there are no users.

        Raises:
            aiohttp.web.HTTPServiceUnavailable: where too many passwords are being checked.

        """
        if not self.users:
            return True
        user, password = _credentials(authorization)
        if not password:
            return False
        hashed = self.users.get(user, _NOBODY)
        digest = hashlib.sha256(b"\0".join((self._salt, hashed.encode(), password))).digest()
        if digest in self._right:
            self._right.move_to_end(digest)
            return user in self.users
        right = await self._check(password, hashed)
        if right:
            self._remember(digest)
        return right and user in self.users

    def close(self) -> None:
        """Let the checking thread go."""
        self._checking.shutdown(wait=False, cancel_futures=True)

    async def _check(self, password: bytes, hashed: str) -> bool:
        if self._waiting >= _WAITING:
            raise web.HTTPServiceUnavailable(text="too many passwords are being checked\n")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._checking, _matches, password, hashed)
        finally:
            self._waiting -= 1

    def _remember(self, digest: bytes) -> None:
        self._right[digest] = None
        if len(self._right) > _REMEMBERED:
            self._right.popitem(last=False)


GUARD = web.AppKey("guard", Guard)
"""Where an application keeps its guard."""


@web.middleware
async def challenge(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in who may come in, and ask everybody else for a password."""
    if await request.app[GUARD].admits(request.headers.get("Authorization", "")):
        return await handler(request)
    raise web.HTTPUnauthorized(text="a password is needed\n", headers={"WWW-Authenticate": 'Basic realm="Fogbell", charset="UTF-8"'})


def _credentials(authorization: str) -> tuple[str, bytes]:
    """Return user and password of RFC 7617, the password as bytes; nothing where there are none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", b""
    try:
        user, _, password = b64decode(encoded.strip(), validate=True).partition(b":")
        return user.decode(), password
    except (binascii.Error, UnicodeDecodeError):
        return "", b""


def _matches(password: bytes, hashed: str) -> bool:
    try:
        return bcrypt.checkpw(password[:72], hashed.encode())  # bcrypt reads 72 bytes; the library refuses more
    except ValueError:  # a hash of a shape that only looked right, or a null byte
        return False
