"""What is known of XAPI's methods: order of parameters, which run as tasks, and classes' own case.

Clients name parameters, XAPI counts them. The facts lie in methods.json, written by
tools/make_methods.py. They are of the newest XAPI: an older pool answers MESSAGE_METHOD_UNKNOWN for
what it lacks, which the client gets to see as it is.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec

from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import XapiClass

NO_EVENTS = frozenset(
    {
        "auth",
        "data_source",
        "event",
        "probe_result",
        "secret",
        "session",
        "sr_stat",
        "user",
        "vdi_nbd_server_info",
    }
)
"""Lower-case classes without events (XAPI datamodel, gen_events); `secret` must never be cached."""

MADE_UP = frozenset({"role"})
"""What XAPI derives when it is asked (roles, from its data model): there are no rows, so no event
and no count ever tells of them, and a list shows thousands that no event has told."""

REFUSED_CLASSES = frozenset({"session", "event", "secret"})


class _Facts(msgspec.Struct):
    methods: dict[str, dict[str, str]]
    tasks: dict[str, str]


@cache
def _facts() -> _Facts:
    text = files("xoproxy.pool").joinpath("methods.json").read_bytes()
    return msgspec.json.decode(text, type=_Facts)


@dataclass(frozen=True, slots=True)
class Call:
    """A call as XAPI takes it.

    Args:
        method: its wire name.
        params: in XAPI's order, without the session.
        as_task: whether it is worth running as a task.
    """

    method: str
    params: tuple[object, ...]
    as_task: bool


def event_classes(methods: Iterable[str] = ()) -> frozenset[XapiClass]:
    """Name the classes that have events and can be listed.

    Args:
        methods: the names of the pool's methods, as `system.listMethods` gives them; without any,
            the classes of the newest XAPI.
    """
    suffix = ".get_all_records"
    names = {name.removesuffix(suffix) for name in methods if name.endswith(suffix)}
    if not names:
        names = {cls for cls, known in _facts().methods.items() if "get_all_records" in known}
    return frozenset(XapiClass(name) for name in names if name.lower() not in NO_EVENTS | MADE_UP)


def resolve(method: str, params: Mapping[str, object]) -> Call:
    """Put a client's named parameters into XAPI's order.

    Raises:
        RequestRefused: the method is unknown or not for clients, or the parameters do not fit.
    """
    cls, _, name = method.partition(".")
    if cls.lower() in REFUSED_CLASSES:
        raise RequestRefused(ErrorCode.FORBIDDEN, f"{cls}.* is the proxy's own affair")
    known = _facts().methods.get(cls, {}).get(name)
    if known is None:
        raise _unknown_method(method)
    names = known.split()
    required = [n for n in names if not n.endswith("?")]
    names = [n.removesuffix("?") for n in names]
    for given in params:
        if given not in names:
            raise RequestRefused(
                ErrorCode.BAD_MESSAGE,
                f"{method} has no parameter {given!r}{_near(given, names)}; it takes "
                + (", ".join(names) or "none"),
            )
    for needed in required:
        if needed not in params:
            raise RequestRefused(ErrorCode.BAD_MESSAGE, f"{method} needs the parameter {needed!r}")
    return Call(
        method,
        _in_order(method, names, params),
        as_task=name in _facts().tasks.get(cls, "").split(),
    )


def parameters(method: str) -> frozenset[str] | None:
    """Return the names of a method's parameters; None if there is no such method."""
    cls, _, name = method.partition(".")
    known = _facts().methods.get(cls, {}).get(name)
    return None if known is None else frozenset(n.removesuffix("?") for n in known.split())


def _in_order(method: str, names: list[str], params: Mapping[str, object]) -> tuple[object, ...]:
    """Order the values; optional ones stand last, and only trailing ones can be left out."""
    given = [name in params for name in names]
    count = sum(given)
    if not all(given[:count]):
        missing = names[given.index(False)]
        raise RequestRefused(
            ErrorCode.BAD_MESSAGE,
            f"{method}: XAPI counts parameters, so {missing!r} cannot be left out here",
        )
    return tuple(params[name] for name in names[:count])


def _unknown_method(method: str) -> RequestRefused:
    if method.startswith(("Async.", "async.")):
        plain = method.split(".", 1)[1]
        return RequestRefused(
            ErrorCode.BAD_MESSAGE, f"write {plain!r}: long calls run as tasks by themselves"
        )
    every = [f"{c}.{m}" for c, known in _facts().methods.items() for m in known]
    every = [name for name in every if name.split(".")[0].lower() not in REFUSED_CLASSES]
    return RequestRefused(
        ErrorCode.BAD_MESSAGE, f"XAPI has no method {method[:80]!r}{_near(method[:80], every)}"
    )


def _near(name: str, known: Iterable[str]) -> str:
    folded = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""
