"""What the operations on pools take and answer."""

import ipaddress
import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from xoproxy.rest.operations import Answer, Body, Moment, Name, without_nul

_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_.])?")
_URL_SHAPE = "must look like https://xcp1.example.com or http://192.0.2.7:8080"
_DIGITS = 64


class PoolProblem(Answer):
    """Why a link is not live: a code, and a sentence without addresses or credentials."""

    code: str
    message: str


class PoolInfo(Answer):
    """A configured pool and the state of its link. Its password is never told."""

    id: str
    name: str
    url: str
    username: str
    enabled: bool
    state: Literal["connecting", "live", "stale", "disabled", "error"]
    since: Moment = Field(description="When the link came into this state")
    error: PoolProblem | None = Field(description="Of the last failed attempt")
    objects: int = Field(description="Objects that the proxy holds of the pool")
    created_at: Moment


def pool_url(text: str) -> str:
    """Return the address of a pool in its one written form, "https://host[:port]".

    Raises:
        ValueError: it is none. The text is not repeated: it may hold a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port  # raises for a port that is none
    except ValueError:
        raise ValueError(_URL_SHAPE) from None
    if "@" in parts.netloc:
        raise ValueError("must not hold credentials; give username and password by themselves")
    if parts.scheme not in {"http", "https"} or not _is_host(parts.hostname or ""):
        raise ValueError(_URL_SHAPE)
    if parts.path not in {"", "/"} or "?" in text or "#" in text:
        raise ValueError(f"must not hold a path, query or fragment; it {_URL_SHAPE}")
    if port == 0:
        raise ValueError("must not name port 0")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def fingerprint_text(text: str) -> str:
    """Return a SHA-256 fingerprint as 64 hex digits in lower case; ValueError if it is none."""
    digits = text.replace(":", "").strip().lower()
    if len(digits) != _DIGITS or not set(digits) <= set("0123456789abcdef"):
        raise ValueError("must be a SHA-256 fingerprint: 64 hexadecimal digits, colons allowed")
    return digits


PoolUrl = Annotated[str, StringConstraints(max_length=500), AfterValidator(pool_url)]
Username = Annotated[
    str, StringConstraints(min_length=1, max_length=255), AfterValidator(without_nul)
]
Password = Annotated[SecretStr, Field(min_length=1, max_length=1024)]
Fingerprint = Annotated[str, StringConstraints(max_length=200), AfterValidator(fingerprint_text)]


class PoolAdd(Body):
    """A pool to be added. The proxy signs in to it with this user, who should be a pool admin."""

    name: Name
    url: PoolUrl
    username: Username
    password: Password
    fingerprint: Fingerprint | None = Field(
        None, description="SHA-256 of the host's certificate, when no authority vouches for it"
    )


class PoolChange(Body):
    """What shall change; at least one member."""

    name: Name | None = None
    url: PoolUrl | None = None
    username: Username | None = None
    password: Password | None = None
    enabled: bool | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give at least one of name, url, username, password, enabled")
        return self


class PoolLookAt(Body):
    """A pool to be looked at before it is added."""

    url: PoolUrl
    username: Username
    password: Password
    fingerprint: Fingerprint | None = None


class PoolAccept(Body):
    """A certificate that an operator has compared with the host's."""

    fingerprint: Fingerprint


class CertificateInfo(Answer):
    """A certificate that a host shows."""

    fingerprint: str = Field(description="SHA-256 in hexadecimal")
    subject: str
    issuer: str
    not_after: Moment


class HostCertificate(Answer):
    """What one host of a pool shows, and what was accepted for it."""

    host: str
    accepted: str | None = Field(description="SHA-256; null: the authorities decide")
    shown: CertificateInfo | None = Field(description="null: the host cannot be reached")


class CheckStep(Answer):
    """One thing that was looked at."""

    name: str
    outcome: Literal["ok", "warning", "failed", "skipped"]
    message: str
    advice: str = Field(description="What to do; empty when there is nothing to do")


class CheckReport(Answer):
    """What a check of a pool found, in the order of the steps."""

    good: bool
    steps: list[CheckStep]
    certificate: CertificateInfo | None
    pool_name: str
    pool_uuid: str
