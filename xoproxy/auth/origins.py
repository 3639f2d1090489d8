"""Whether a request was made by a web page that is not ours.

Browsers attach cookies and remembered Basic credentials to requests that any page makes. Programs
send none of the headers looked at here; browsers send `Origin` with every request that changes
something and with every WebSocket upgrade, today's send `Sec-Fetch-Site` with every request over
TLS or to this machine, and pages cannot forge either.

Our cookie goes with no request of a page of another site (SameSite=Strict), so this is the second
of two locks; it also holds where the first does not: pages of other ports and of sibling names are
the same site.
"""

from collections.abc import Collection, Mapping

_SITE = "Sec-Fetch-Site"
_OWN = frozenset({"none", "same-origin"})
"""None is a person who types the address."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
PROOF = "X-Requested-With"
"""A header that a page of another origin cannot send without having been allowed to."""


def is_foreign_page(headers: Mapping[str, str], trusted_origins: Collection[str]) -> bool:
    """Tell whether a page of another origin, and not a trusted one, made the request.

    Args:
        headers: of the request, with case-insensitive names.
        trusted_origins: "https://xo.example.com" and the like.
    """
    origin = headers.get("Origin")
    if origin is not None and origin in trusted_origins:
        return False
    # A program sends no such header at all. It knows the scheme, which we do not (behind a reverse
    # proxy with TLS we only see plain HTTP): http://xo.example is foreign to https://xo.example.
    if headers.get(_SITE, "none") not in _OWN:
        return True
    return origin is not None and (
        origin.partition("://")[2].lower() != headers.get("Host", "").lower()
    )


def is_forgeable(method: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a page could have made this request without our knowing that it did.

    Asked when a cookie says who it is from. Browsers that are too old to tell where a request comes
    from let pages post forms and no more: not JSON, and no header of their own.
    """
    if method in _READING or "Origin" in headers or _SITE in headers or PROOF in headers:
        return False
    return headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json"
