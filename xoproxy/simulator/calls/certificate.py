"""Calls about the certificates of hosts (certificates.ml, gencertlib/lib.ml)."""

import datetime as dt
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from xoproxy.simulator import certificates
from xoproxy.simulator.calls.host import asked, machine
from xoproxy.simulator.calls.registry import Call, operation
from xoproxy.simulator.failures import XapiError

_KEY_BITS: Final = range(2048, 4097)
_HASHES: Final = (hashes.SHA256, hashes.SHA512)


@operation("host.get_server_certificate")
def get_server_certificate(call: Call, host: str) -> str:
    return machine(call, host).identity.pem


@operation("host.reset_server_certificate")
def reset_server_certificate(call: Call, host: str) -> None:
    certificates.renew(call.db, machine(call, host))


@operation("host.refresh_server_certificate")
def refresh_server_certificate(call: Call, host: str) -> None:
    """Renew the certificate that hosts show each other."""
    certificates.renew(call.db, machine(call, host), "host_internal")


@operation("host.emergency_reset_server_certificate")
def emergency_reset_server_certificate(call: Call) -> None:
    certificates.renew(call.db, asked(call))


@operation("host.install_server_certificate")
def install_server_certificate(
    call: Call, host: str, certificate: str, private_key: str, chain: str
) -> None:
    """Let a host show a certificate that somebody else has made."""
    found = machine(call, host)
    key = _key(private_key)
    shown = _certificate(call, certificate, key)
    try:
        others = x509.load_pem_x509_certificates(chain.encode()) if chain else []
    except ValueError:
        raise XapiError("SERVER_CERTIFICATE_CHAIN_INVALID") from None
    certificates.install(call.db, found, shown, key, others)


def _key(pem: str) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise XapiError("SERVER_CERTIFICATE_KEY_INVALID") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise XapiError("SERVER_CERTIFICATE_KEY_ALGORITHM_NOT_SUPPORTED", type(key).__name__)
    if key.key_size not in _KEY_BITS:
        raise XapiError("SERVER_CERTIFICATE_KEY_RSA_LENGTH_NOT_SUPPORTED", str(key.key_size))
    return key


def _certificate(call: Call, pem: str, key: rsa.RSAPrivateKey) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise XapiError("SERVER_CERTIFICATE_INVALID") from None
    public = certificate.public_key()
    numbers = public.public_numbers() if isinstance(public, rsa.RSAPublicKey) else None
    if numbers != key.public_key().public_numbers():
        raise XapiError("SERVER_CERTIFICATE_KEY_MISMATCH")
    now = dt.datetime.fromtimestamp(call.db.time(), dt.UTC)
    if now < certificate.not_valid_before_utc:
        begins = _date(certificate.not_valid_before_utc)
        raise XapiError("SERVER_CERTIFICATE_NOT_VALID_YET", _date(now), begins)
    if now >= certificate.not_valid_after_utc:
        ended = _date(certificate.not_valid_after_utc)
        raise XapiError("SERVER_CERTIFICATE_EXPIRED", _date(now), ended)
    if not isinstance(certificate.signature_hash_algorithm, _HASHES):
        raise XapiError("SERVER_CERTIFICATE_SIGNATURE_NOT_SUPPORTED")
    return certificate


def _date(moment: dt.datetime) -> str:
    return f"{moment:%Y%m%dT%H:%M:%SZ}"
