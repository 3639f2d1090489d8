"""Whether a request was made by a web page that is not ours.

Browsers attach cookies and remembered Basic credentials to requests that any page makes. Programs
send neither header; browsers send `Origin` with every request that changes something and with every
WebSocket upgrade, and pages cannot forge it.
"""

from collections.abc import Collection, Mapping


def is_foreign_page(headers: Mapping[str, str], trusted_origins: Collection[str]) -> bool:
    """Tell whether a page of another origin, and not a trusted one, made the request.

    Args:
        headers: of the request, with case-insensitive names.
        trusted_origins: "https://xo.example.com" and the like.
    """
    origin = headers.get("Origin")
    if origin is None:
        # "none" is a person typing the address; a program sends no such header at all
        return headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}
    if origin in trusted_origins:
        return False
    # the scheme is left out: behind a reverse proxy with TLS we only see plain HTTP
    return origin.partition("://")[2].lower() != headers.get("Host", "").lower()
