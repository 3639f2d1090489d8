"""Certificates of simulated hosts, as each host makes itself one when it is installed."""

import datetime as dt
import hashlib
import ipaddress
import ssl
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

VALID_FOR: Final = dt.timedelta(days=3650)


class Identity:
    """A host's key and self-signed certificate, in memory only; it can be renewed in use.

    Args:
        names: the addresses and host names that it is for.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(dict.fromkeys(names))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Nobody resumes a TLS session: who comes again is to meet the certificate of that moment.
        self.context.options |= ssl.OP_NO_TICKET
        self.context.num_tickets = 0
        self._certificate = self._make()

    def renew(self) -> None:
        """Show another key and certificate to those who connect from now on."""
        self._certificate = self._make()

    def install(
        self,
        certificate: x509.Certificate,
        key: rsa.RSAPrivateKey,
        chain: Sequence[x509.Certificate] = (),
    ) -> None:
        """Show a given certificate, and those that vouch for it."""
        self._show(key, [certificate, *chain])
        self._certificate = certificate

    @property
    def pem(self) -> str:
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def fingerprint(self) -> str:
        """The certificate's SHA-256, in hexadecimal."""
        return self._digest("sha256").hex()

    @property
    def fields(self) -> dict[str, str]:
        """What a row of class `Certificate` says of it."""
        sha256 = self._digest("sha256").hex(":").upper()
        return {
            "not_before": f"{self._certificate.not_valid_before_utc:%Y%m%dT%H:%M:%SZ}",
            "not_after": f"{self._certificate.not_valid_after_utc:%Y%m%dT%H:%M:%SZ}",
            "fingerprint": sha256,
            "fingerprint_sha256": sha256,
            "fingerprint_sha1": self._digest("sha1").hex(":").upper(),
        }

    def _digest(self, algorithm: str) -> bytes:
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        return hashlib.new(algorithm, der).digest()

    def _make(self) -> x509.Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(key, self._names)
        self._show(key, [certificate])
        return certificate

    def _show(
        self,
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
        certificates: Sequence[x509.Certificate],
    ) -> None:
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = [c.public_bytes(serialization.Encoding.PEM) for c in certificates]
        with tempfile.TemporaryDirectory(prefix="simulator-") as folder:
            # Python's ssl reads keys from files only; the folder is ours alone and goes at once.
            path = Path(folder) / "server.pem"
            path.write_bytes(b"".join([private, *public]))
            self.context.load_cert_chain(path)


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
