"""Certificates that somebody gives a host."""

import datetime as dt
from collections.abc import AsyncIterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.unit.simulator.worlds import HOST, Client, client

KEY = rsa.generate_private_key(65537, 2048)
NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def certificate(
    key: rsa.RSAPrivateKey = KEY,
    begin: dt.datetime = NOW - DAY,
    end: dt.datetime = NOW + DAY,
    algorithm: hashes.SHA256 | hashes.SHA384 | None = None,
) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pool.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .sign(key, algorithm or hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
async def user() -> AsyncIterator[Client]:
    async with client() as made:
        yield made


def fingerprints(user: Client) -> list[str]:
    rows = user.db.tables["Certificate"].rows.values()
    return [row.fields["fingerprint_sha256"] for row in rows if row.fields["type"] == "host"]


async def test_an_installed_certificate_is_shown_and_has_a_row(user: Client) -> None:
    given = certificate()
    await user.call("host.install_server_certificate", HOST, given, pem(KEY), certificate())
    assert await user.call("host.get_server_certificate", HOST) == given
    digest = x509.load_pem_x509_certificate(given.encode()).fingerprint(hashes.SHA256())
    assert fingerprints(user) == [digest.hex(":").upper()]
    await user.call("host.reset_server_certificate", HOST)
    assert await user.call("host.get_server_certificate", HOST) != given
    assert len(fingerprints(user)) == 1


@pytest.mark.parametrize(
    ("shown", "key", "chain", "code"),
    [
        (certificate(), "no key", "", "SERVER_CERTIFICATE_KEY_INVALID"),
        (
            certificate(),
            pem(ec.generate_private_key(ec.SECP256R1())),
            "",
            "SERVER_CERTIFICATE_KEY_ALGORITHM_NOT_SUPPORTED",
        ),
        (
            certificate(),
            pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505
            "",
            "SERVER_CERTIFICATE_KEY_RSA_LENGTH_NOT_SUPPORTED",
        ),
        ("no certificate", pem(KEY), "", "SERVER_CERTIFICATE_INVALID"),
        (
            certificate(rsa.generate_private_key(65537, 2048)),
            pem(KEY),
            "",
            "SERVER_CERTIFICATE_KEY_MISMATCH",
        ),
        (certificate(begin=NOW + DAY / 2), pem(KEY), "", "SERVER_CERTIFICATE_NOT_VALID_YET"),
        (
            certificate(begin=NOW - 3 * DAY, end=NOW - DAY),
            pem(KEY),
            "",
            "SERVER_CERTIFICATE_EXPIRED",
        ),
        (
            certificate(algorithm=hashes.SHA384()),
            pem(KEY),
            "",
            "SERVER_CERTIFICATE_SIGNATURE_NOT_SUPPORTED",
        ),
        (certificate(), pem(KEY), "no chain", "SERVER_CERTIFICATE_CHAIN_INVALID"),
    ],
    ids=lambda value: value if value.startswith("SERVER") else "",
)
async def test_what_is_wrong_with_a_certificate(
    user: Client, shown: str, key: str, chain: str, code: str
) -> None:
    before = await user.call("host.get_server_certificate", HOST)
    refused = await user.error("host.install_server_certificate", HOST, shown, key, chain)
    assert refused[0] == code
    assert await user.call("host.get_server_certificate", HOST) == before
