"""A certificate of the simulated pool's own, as each pool makes itself one when installed."""

import datetime as dt
import hashlib
import ipaddress
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID_FOR = dt.timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server shows: its context, and the certificate's SHA-256 in hexadecimal."""

    context: ssl.SSLContext
    fingerprint: str


def self_signed(names: Iterable[str]) -> Identity:
    """Make a key and a certificate for some addresses and host names; kept in memory only."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key, list(dict.fromkeys(names)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.TemporaryDirectory(prefix="simulator-") as folder:
        # Python's ssl reads keys from files only; the folder is ours alone and goes at once.
        path = Path(folder) / "server.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Identity(context, hashlib.sha256(der).hexdigest())


def _certificate(key: ec.EllipticCurvePrivateKey, names: list[str]) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.UTC)
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + VALID_FOR)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
