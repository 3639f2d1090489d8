"""Whose certificate is good: the one that was accepted for a host, else the authorities decide.

XAPI hosts sign their own certificates, so an operator accepts one by its fingerprint, once; from
then on that host must show the same (trust on first use, with the first use confirmed). A host for
which nothing was accepted must be good for the system's authorities or those of a bundle of one's
own. Nothing older than TLS 1.2, and nothing is sent before the certificate is found good.
"""

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from yarl import URL

from xoproxy.errors import ConfigError, PoolUnreachable
from xoproxy.pool.looking import connection

FINGERPRINT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a host shows.

    Args:
        fingerprint: SHA-256 of it, 64 hexadecimal digits.
        subject, issuer: names, as in RFC 4514.
        not_after: when it ends.
    """

    fingerprint: str
    subject: str
    issuer: str
    not_after: datetime

    @classmethod
    def read(cls, der: bytes) -> "Certificate":
        """Read one; ValueError if it is none."""
        found = x509.load_der_x509_certificate(der)
        return cls(
            fingerprint=hashlib.sha256(der).hexdigest(),
            subject=found.subject.rfc4514_string(),
            issuer=found.issuer.rfc4514_string(),
            not_after=found.not_valid_after_utc.astimezone(UTC),
        )

    @classmethod
    def from_pem(cls, pem: str) -> "Certificate":
        """Read the first one of a PEM text; ValueError if there is none."""
        found = x509.load_pem_x509_certificate(pem.encode())
        return cls.read(found.public_bytes(Encoding.DER))


class Trust:
    """What one pool's hosts must show.

    Args:
        pins: host (as in URLs, without brackets) -> SHA-256 in hexadecimal, see `fingerprint`.
        ca_path: a bundle of authorities (PEM) beside the system's.
    """

    def __init__(self, pins: Mapping[str, str], ca_path: Path | None = None) -> None:
        self.pins = dict(pins)
        self.ca_path = ca_path

    def learn(self, pins: Mapping[str, str]) -> None:
        """Pin hosts for which nothing was pinned; no pin is ever replaced."""
        self.pins = {**pins, **self.pins}

    def accept(self, pins: Mapping[str, str]) -> None:
        """Pin what the operator accepted, instead of what was pinned for those hosts."""
        self.pins = {**self.pins, **pins}

    def check(self) -> None:
        """Raise ConfigError when a pin is none or the bundle cannot be read."""
        for pin in self.pins.values():
            fingerprint(pin)
        authorities(self.ca_path)

    def of(self, url: URL) -> "ssl.SSLContext | aiohttp.Fingerprint | bool":
        """Return what aiohttp takes as `ssl` for a request to a URL."""
        if url.scheme != "https":
            return True
        pin = self.pin(url)
        if pin is not None:
            return aiohttp.Fingerprint(bytes.fromhex(pin))
        return authorities(self.ca_path)

    def pin(self, url: URL) -> str | None:
        """Return what was accepted for a URL's host, in its one written form."""
        pin = self.pins.get(url.host or "")
        return None if pin is None else fingerprint(pin)


def fingerprint(text: str) -> str:
    """Return a SHA-256 fingerprint in its one written form: 64 hex digits in lower case.

    Raises:
        ConfigError: it is not one. Colons and upper case are fine.
    """
    digits = text.replace(":", "").strip()
    try:
        digest = bytes.fromhex(digits)
    except ValueError:
        digest = b""
    if len(digest) != FINGERPRINT_BYTES:
        raise ConfigError("the fingerprint must be the SHA-256 of the certificate: 64 hex digits")
    return digest.hex()


async def presented(url: URL, within_s: float) -> Certificate:
    """Return what a host shows, good or not; nothing is sent to it.

    Raises:
        PoolUnreachable: nobody there, or no TLS 1.2.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # to look at it is not to trust it
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        async with connection(url, within_s, context) as writer:
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return Certificate.read(shown)
    except TimeoutError as error:
        raise PoolUnreachable("The pool did not answer in time.", "TIMEOUT") from error
    except ssl.SSLError as error:
        raise PoolUnreachable("The pool does not speak TLS 1.2 there.", "CERTIFICATE") from error
    except (OSError, ValueError) as error:
        raise PoolUnreachable("The pool does not accept connections.") from error


async def trusted_by_authorities(url: URL, ca_path: Path | None, within_s: float) -> bool:
    """Tell whether the authorities vouch for what a host shows; False when nobody is there."""
    try:
        async with connection(url, within_s, authorities(ca_path)):
            return True
    except OSError:
        return False


@lru_cache(maxsize=4)
def authorities(ca_path: Path | None) -> ssl.SSLContext:
    """Make the context that verifies: one for all pools, for the system's bundle is large.

    To read it takes some 20 ms, so it is done once before anybody is served.

    Raises:
        ConfigError: the bundle of authorities cannot be read.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_path is not None:
        try:
            context.load_verify_locations(cafile=ca_path)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or "it holds no certificates in PEM"
            raise ConfigError(f"pool_link.ca_file: cannot read {ca_path}: {reason}") from error
    return context
