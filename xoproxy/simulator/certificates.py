"""Rows of class `Certificate`: which certificates the hosts of a pool show (certificates.ml)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from xoproxy.simulator.database import Database
from xoproxy.simulator.tls import Identity

if TYPE_CHECKING:
    from xoproxy.simulator.hosts import Host

Kind: TypeAlias = Literal["host", "host_internal"]
"""What clients of the API meet, and what the other hosts of the pool do."""


def correct(db: Database, host: "Host") -> None:
    """Let the rows say which certificates a host has, as if they always had."""
    for kind, identity in _identities(host):
        found = _rows(db, host, kind)
        for ref in found:
            for name, value in identity.fields.items():
                db.correct("Certificate", ref, name, value)
        if not found:
            _add(db, host, kind, identity)


def renew(db: Database, host: "Host", kind: Kind = "host") -> None:
    """Give a host another certificate, which new connections meet; its row is another one, too."""
    identity = dict(_identities(host))[kind]
    identity.renew()
    _replace(db, host, kind, identity)


def install(
    db: Database,
    host: "Host",
    certificate: x509.Certificate,
    key: rsa.RSAPrivateKey,
    chain: Sequence[x509.Certificate],
) -> None:
    """Let a host show clients a certificate that is not its own making."""
    host.identity.install(certificate, key, chain)
    _replace(db, host, "host", host.identity)


def _replace(db: Database, host: "Host", kind: Kind, identity: Identity) -> None:
    former = _rows(db, host, kind)
    _add(db, host, kind, identity)
    for ref in former:
        db.destroy("Certificate", ref)


def _identities(host: "Host") -> list[tuple[Kind, Identity]]:
    return [("host", host.identity), ("host_internal", host.internal)]


def _rows(db: Database, host: "Host", kind: Kind) -> list[str]:
    rows = db.tables["Certificate"].rows.values()
    return [r.ref for r in rows if r.fields["host"] == host.ref and r.fields["type"] == kind]


def _add(db: Database, host: "Host", kind: Kind, identity: Identity) -> None:
    db.create("Certificate", {"host": host.ref, "type": kind, **identity.fields})
