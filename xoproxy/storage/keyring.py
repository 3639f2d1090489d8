"""Encrypts what the database must not show, with a key that is kept apart from it.

A sealed value is version (1 byte), key id (4), nonce (12), AES-256-GCM ciphertext. Its purpose, for
example "pool/k3f9/password", is authenticated with it: a value moved to another row does not open.
"""

import base64
import binascii
import hashlib
import os
import secrets
import stat
from pathlib import Path

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from xoproxy.errors import ConfigError

_KEY_BYTES = 32
_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_log = structlog.get_logger(__name__)


class SealBroken(Exception):  # noqa: N818 - reads as what happened
    """A sealed value was made with another key or purpose, or is damaged."""


class Keyring:
    """Seals and opens values with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)
        # lets a wrong key be told from damage, and says which one a backup needs
        key_id = hashlib.sha256(b"xoproxy key id" + key).digest()[:_KEY_ID_BYTES]
        self._head = _VERSION + key_id

    @property
    def key_id(self) -> str:
        """Tells keys apart, and nothing about them."""
        return self._head[len(_VERSION) :].hex()

    def seal(self, value: bytes, purpose: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._head + nonce + self._cipher.encrypt(nonce, value, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Return what was sealed for this purpose.

        Raises:
            SealBroken: with the reason.
        """
        head = len(self._head)
        if sealed[:head] != self._head:
            raise SealBroken("it was made with another key")
        nonce = sealed[head : head + _NONCE_BYTES]
        try:
            return self._cipher.decrypt(nonce, sealed[head + _NONCE_BYTES :], purpose.encode())
        except (InvalidTag, ValueError):
            raise SealBroken("it is damaged, or was moved") from None

    def derived(self, purpose: str) -> bytes:
        """Return a key of its own for one purpose, for what is sealed elsewhere."""
        return hashlib.blake2b(purpose.encode(), key=self._key, digest_size=_KEY_BYTES).digest()


def read_key(path: Path) -> bytes | None:
    """Return the key in a file; None if there is no such file.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    try:
        text = path.read_bytes()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"storage: cannot read the key file {path}: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        # no error: secrets mounted into containers often come like this and cannot be changed
        _log.warning("key file readable by others", path=str(path), mode=oct(mode & 0o777))
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigError(
            f"storage: {path} is not a key file (32 bytes in Base64 on one line); restore it from "
            "your backup"
        )
    return key


def create_key(path: Path) -> bytes:
    """Make a key and its file.

    Raises:
        ConfigError: the file cannot be written.
    """
    key = secrets.token_bytes(_KEY_BYTES)
    write_key(path, key)
    _log.info("key file created", path=str(path))
    return key


def write_key(path: Path, key: bytes) -> None:
    """Write a key file, readable by its owner only; whole or not at all.

    Raises:
        ConfigError: the file cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(base64.b64encode(key) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(f"storage: cannot write the key file {path}: {error.strerror}") from None


def pending_key(path: Path) -> Path:
    """Name the file in which a new key waits until the database has it (storage/rotation.py)."""
    return path.with_name(f"{path.name}.new")


def replace_key(pending: Path, path: Path) -> Path:
    """Put a new key in the place of the old one, which is kept: older backups need it.

    Returns:
        Where the old one is.

    Raises:
        ConfigError: a file cannot be written.
    """
    old = read_key(path)
    try:
        kept = path.with_name(f"{path.name}.{Keyring(old).key_id}" if old else f"{path.name}.old")
        if old is not None and not kept.exists():
            kept.hardlink_to(path)
        pending.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(
            f"storage: cannot put the new key {pending} in place of {path}: {error.strerror}; "
            "do that by hand"
        ) from None
    _log.info("key file replaced", path=str(path), old=str(kept))
    return kept


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
