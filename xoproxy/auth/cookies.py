"""The name of the cookie that holds a browser session's secret.

`__Host-` makes a browser take it from this very host over TLS only, so that neither a sibling name
nor somebody on the wire can slip another session in. Over plain HTTP there is no such protection,
and the cookie has another name: one that came unprotected is never taken on a protected connection.
"""

from collections.abc import Mapping

_PROTECTED = "__Host-xoproxy"
_PLAIN = "xoproxy_session"


def cookie_name(*, secure: bool) -> str:
    """Return the cookie's name on a connection with TLS or without."""
    return _PROTECTED if secure else _PLAIN


def session_cookie(cookies: Mapping[str, str], *, secure: bool) -> str | None:
    """Return what a request's session cookie holds; None: it has none."""
    return cookies.get(cookie_name(secure=secure)) or None
