"""Passwords, hashed with argon2id off the event loop.

Hashing is made to be slow and hungry, so it runs in a small executor of its own: a burst of
sign-ins queues up in front of it instead of stalling the proxy or taking its memory.
"""

import asyncio
import hashlib
import hmac
import math
import secrets
import time
import unicodedata
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from xoproxy.errors import ErrorCode, RequestRefused, Unauthorized

PASSWORD_BYTES = 1024
"""Longest password accepted: hashing megabytes would be a way to keep us busy."""

# OWASP's second recommendation (19 MiB, 2 passes, 1 lane), about 30 ms. RFC 9106's 64 MiB would
# make the memory of an otherwise flat process jump at every sign-in, for the same strength.
_MEMORY_KIB = 19 * 1024
_PASSES = 2
_WORKERS = 2
_WAITING = 512
_REMEMBERED = 1000
_REMEMBERED_S = 60.0

_Result = TypeVar("_Result")


class Passwords:
    """Hashes and verifies passwords.

    Two run at a time and at most 512 wait (about eight seconds, less than the time that a new
    connection has to sign in); more are refused with BUSY.

    A password found right is remembered for a minute, as a digest under a key that lives in this
    object only: when the proxy restarts, hundreds of pages of one person sign in within a second.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=1)
        self._executor = ThreadPoolExecutor(_WORKERS, thread_name_prefix="argon2")
        self._slots = asyncio.Semaphore(_WORKERS)
        self._waiting = 0
        self._digest_key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        # verified against when there is no account, so that unknown names take as long as known
        self._decoy = self._hasher.hash(secrets.token_bytes(16))

    async def hash(self, password: str) -> str:
        """Return the hash to store.

        Raises:
            RequestRefused: the password is empty or too long.
        """
        data = _encode(password)
        if not 0 < len(data) <= PASSWORD_BYTES:
            raise RequestRefused(
                ErrorCode.BAD_MESSAGE, f"a password has 1 to {PASSWORD_BYTES} bytes"
            )
        async with self._slot():
            return await self._in_thread(lambda: self._hasher.hash(data))

    async def verify(
        self, password: str, password_hash: str | None, check: Callable[[], None] = lambda: None
    ) -> bool:
        """Tell whether the password is right; None takes as long as a hash, and is never right.

        Args:
            password: in clear.
            password_hash: as it is stored.
            check: raises if it is not to be tried after all; asked when its turn has come, so that
                who sends hundreds at once has no more guesses than who sends one by one.

        Raises:
            Unauthorized: with code BUSY, too many are being verified.
        """
        data = _encode(password)
        digest = self._digest(data, password_hash or self._decoy)
        if self._is_remembered(digest):
            return True
        async with self._slot():
            if self._is_remembered(digest):  # by the one that was before us in the queue
                return True
            check()
            right = await self._in_thread(lambda: self._matches(data, password_hash or self._decoy))
        if not right or password_hash is None:
            return False
        self._remember(digest)
        return True

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._waiting >= _WAITING:
            raise Unauthorized("too many sign-ins at once; try again in a moment", ErrorCode.BUSY)
        self._waiting += 1
        try:
            async with self._slots:
                yield
        finally:
            self._waiting -= 1

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _matches(self, data: bytes, password_hash: str) -> bool:
        if len(data) > PASSWORD_BYTES:  # none that long was ever stored
            data = b""
        try:
            return self._hasher.verify(password_hash, data)
        except (VerificationError, InvalidHashError):
            return False

    def _digest(self, data: bytes, password_hash: str) -> bytes:
        # with the stored hash in it: a changed password is not remembered
        return hmac.digest(self._digest_key, password_hash.encode() + b"\0" + data, hashlib.sha256)

    def _is_remembered(self, digest: bytes) -> bool:
        return self._clock() - self._right.get(digest, -math.inf) < _REMEMBERED_S

    def _remember(self, digest: bytes) -> None:
        self._right.pop(digest, None)
        self._right[digest] = self._clock()
        while len(self._right) > _REMEMBERED:
            self._right.popitem(last=False)


def random_password() -> str:
    """Return a password of 100 random bits that one can read out and type."""
    letters = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(20))
    return "-".join(letters[start : start + 5] for start in range(0, 20, 5))


def _encode(password: str) -> bytes:
    # NFC: systems differ in how their keyboards compose accents; a lone surrogate must not raise
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
