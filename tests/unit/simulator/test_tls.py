"""The simulated pool's own certificate."""

import ssl

from cryptography import x509

from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.tls import Identity


def test_the_certificate_names_addresses_and_hosts() -> None:
    identity = Identity(["127.0.0.1", "::1", "localhost", "127.0.0.1"])
    assert len(identity.fingerprint) == 64
    assert identity.context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_client_that_trusts_it_accepts_its_names_only() -> None:
    identity = Identity(["127.0.0.1", "pool.example"])
    pem, names = _shown(identity.context)
    assert names == ["127.0.0.1", "pool.example"]
    client = ssl.create_default_context(cadata=pem)
    assert _handshake(identity.context, client, "127.0.0.1")
    assert _handshake(identity.context, client, "pool.example")
    assert not _handshake(identity.context, client, "127.0.0.2")


def test_each_host_has_its_own() -> None:
    assert Identity(["localhost"]).fingerprint != Identity(["localhost"]).fingerprint


def test_a_renewed_certificate_is_shown_by_the_same_context() -> None:
    identity = Identity(["pool.example"])
    former = identity.fingerprint
    identity.renew()
    pem, names = _shown(identity.context)
    assert identity.fingerprint != former
    assert (pem.strip(), names) == (identity.pem.strip(), ["pool.example"])


def test_a_row_says_what_is_shown() -> None:
    identity = Identity(["pool.example"])
    fields = identity.fields
    assert fields["fingerprint_sha256"].replace(":", "").lower() == identity.fingerprint
    assert fields["not_before"] < fields["not_after"]
    assert set(fields) <= set(DataModel.load().classes["Certificate"].fields)


def _shown(server: ssl.SSLContext) -> tuple[str, list[str]]:
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    client = _connected(server, careless, None)
    assert client is not None
    der = client.getpeercert(binary_form=True)
    assert der is not None
    extension = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return ssl.DER_cert_to_PEM_cert(der), [str(name.value) for name in extension.value]


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    return _connected(server, client, name) is not None


def _connected(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None
) -> ssl.SSLObject | None:
    """Shake hands in memory; None when the client refuses the certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return None
    return ends[0]
