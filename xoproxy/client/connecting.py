"""Where a program begins: from what it says of a proxy and of itself to a client."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xoproxy.client.client import Client
from xoproxy.client.connection import Encoding, endpoint
from xoproxy.client.follower import Credentials, Follower
from xoproxy.client.protocol import Protocol


def connect(
    url: str,
    *,
    token: str | Callable[[], str] | None = None,
    username: str | None = None,
    password: str | None = None,
    otp: str | None = None,
    encoding: Encoding = "msgpack",
    ca_file: str | Path | None = None,
    fingerprint: str | None = None,
    state: Mapping[str, Any] | None = None,
) -> Client:
    """Make a client, to be entered by `async with`.

    Args:
        url: of the proxy: "https://proxy.example".
        token: an API token, or a function that returns it; it is asked for every connection, also
            when the token of before was revoked, and must not raise.
        username: instead of a token, with `password`, and `otp` if one is asked for.
        password: see `username`.
        otp: see `username`.
        encoding: how messages travel: "msgpack" or "json".
        ca_file: authorities to believe, in PEM, instead of the system's.
        fingerprint: SHA-256 of the only certificate to believe, in hexadecimal.
        state: what `Client.state` returned in another life: equal queries go on from there.

    Raises:
        ValueError: something is missing or wrong; the text says what.
    """
    credentials = _credentials(token, username, password, otp)
    where = endpoint(url, encoding, ca_file, fingerprint)
    protocol = Protocol(state)
    client = Client(protocol)
    client.follower = Follower(where, credentials, protocol, client, may_renew=callable(token))
    return client


def _credentials(
    token: str | Callable[[], str] | None,
    username: str | None,
    password: str | None,
    otp: str | None,
) -> Credentials:
    if (token is None) is (username is None or password is None):
        raise ValueError("sign in with token=..., or with username=... and password=...")
    if callable(token):
        return lambda: {"token": token()}
    members = {"token": token, "username": username, "password": password, "otp": otp}
    found = {name: value for name, value in members.items() if value is not None}
    return lambda: found
