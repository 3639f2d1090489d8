"""From a request to an answer: which call, with what, may it run, and how does it end.

The order of XAPI's own checks shows in its errors: the text of all parameters, the method, the
number of parameters, their types, the session, the asynchronous form, and only then what the call
itself refuses.
"""

import inspect
import logging
from collections import Counter
from dataclasses import dataclass
from typing import cast

from xoproxy.simulator.calls import generated
from xoproxy.simulator.calls.registry import OPERATIONS, Call, Handler, World
from xoproxy.simulator.database import RowMissingError, cut_for_xml
from xoproxy.simulator.datamodel import ClassModel, DataModel, Message, Param
from xoproxy.simulator.failures import EarlyError, XapiError, as_xapi
from xoproxy.simulator.hosts import LOCAL_CALLS, answered_by_members
from xoproxy.simulator.rpc import Codec, Request, Result, Rpc
from xoproxy.simulator.wiretypes import (
    NULL,
    Json,
    MapType,
    RecordType,
    RefType,
    SetType,
    StringType,
    WireType,
    WrongTypeError,
    shown,
)
from xoproxy.simulator.xmlrpc import XmlCodec

ASYNC = "Async."
_TASK = RefType("task")
_SESSION = RefType("session")
_REFUSED = (XapiError, RowMissingError, WrongTypeError)
# What a mistake in a call raises; XAPI too answers those with INTERNAL_ERROR and goes on.
_MISTAKES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Spec:
    """A method of the API; `record_of` is the class whose record X.create takes."""

    message: Message
    handler: Handler
    record_of: ClassModel | None = None


class Dispatcher:
    """Runs calls on a world. `calls` counts them by method."""

    def __init__(self, model: DataModel, world: World) -> None:
        self._world = world
        self._specs = _specs_of(model)
        self._xml = XmlCodec()
        self.calls: Counter[str] = Counter()

    async def answer(self, rpc: Rpc, request: Request, here: str = NULL) -> bytes:
        """Run a call that was made at host `here`, and encode how it ended."""
        self.calls[request.method] += 1
        try:
            kind, value = await self.run(request.method, request.params, here)
            return rpc.success(request, encode(rpc.codec, kind, value))
        except EarlyError as error:
            return rpc.early_failure(error.description)
        except XapiError as error:
            return rpc.failure(request, error.description)

    async def run(self, method: str, params: list[Json], here: str = NULL) -> tuple[WireType, Json]:
        """Run a call; returns its result and the type of that. Raises XapiError."""
        _require_text(params)
        name = method.removeprefix(ASYNC)
        spec = self._specs.get(name)
        if spec is None:
            if name.startswith("system.isAlive:"):
                return StringType(), params[0] if params else ""
            raise XapiError("MESSAGE_METHOD_UNKNOWN", name)
        message = spec.message
        _require_count(message, name, len(params))
        try:
            session, arguments = _decode(spec, params)
        except WrongTypeError as error:
            raise as_xapi(error) from None
        if message.has_session:
            self._world.sessions.check(session, local=name in LOCAL_CALLS)
        self._require_coordinator(name, here)
        if message.removed:
            raise XapiError("MESSAGE_REMOVED")
        if not message.has_async:
            if method != name:
                raise XapiError("Fault", f"No async mode for this operation (rpc: {name})")
            call = Call(self._world, session, "", here)
            return message.result, await _run(spec, call, arguments)
        call = Call(self._world, session, self._world.tasks.create(method, "", session), here)
        if method != name:
            job = self._run_job(spec, call, arguments)
            self._world.group.create_task(job, name=f"simulator-{method}")
            return _TASK, call.task
        try:
            return message.result, await _run(spec, call, arguments)
        finally:
            self._world.tasks.drop(call.task)

    def _require_coordinator(self, name: str, here: str) -> None:
        """Refuse what a member does not answer itself.

        That comes after the check of the session, in which XAPI finds that it is no pool's own
        (session_check.ml): with one that has ended, a member answers SESSION_INVALID.
        """
        coordinator = self._world.hosts.coordinator
        if here not in {NULL, coordinator.ref} and not answered_by_members(name):
            raise XapiError("HOST_IS_SLAVE", coordinator.address)

    async def _run_job(self, spec: Spec, call: Call, arguments: list[Json]) -> None:
        """Run an asynchronous call and write its outcome into its task."""
        try:
            value = await _run(spec, call, arguments)
        except XapiError as error:
            self._world.tasks.fail(call.task, error)
        else:
            text = encode(self._xml, spec.message.result, value).decode()
            self._world.tasks.succeed(call.task, text)


def encode(codec: Codec, kind: WireType, value: Json) -> bytes:
    if hasattr(value, "encode") and not isinstance(value, str):
        return cast("Result", value).encode(codec)
    return codec.value(kind, value)


async def _run(spec: Spec, call: Call, arguments: list[Json]) -> Json:
    try:
        value = spec.handler(call, *arguments)
        if inspect.isawaitable(value):
            value = await value
    except _REFUSED as error:
        raise as_xapi(error) from None
    except _MISTAKES as error:
        log.exception("%s failed", spec.message.wire_name)
        raise XapiError("INTERNAL_ERROR", repr(error)) from error
    return "" if value is None else value


def _require_text(params: list[Json]) -> None:
    """Refuse text that XML cannot hold, before anything else is looked at."""
    for param in params:
        text = shown(param)
        if cut_for_xml(text) != text:
            raise EarlyError("INVALID_VALUE", "Invalid UTF-8 string in parameter", text)


def _require_count(message: Message, name: str, given: int) -> None:
    """Refuse a wrong number of parameters; where some are optional, surplus ones are ignored."""
    given -= int(message.has_session)
    mandatory = sum(not p.optional for p in message.params)
    strict = message.hidden_params or mandatory == len(message.params)
    surplus = strict and given > message.accepts
    if given < mandatory or surplus:
        counts = str(mandatory), str(given)
        raise XapiError("MESSAGE_PARAMETER_COUNT_MISMATCH", name, *counts)


def _decode(spec: Spec, params: list[Json]) -> tuple[str, list[Json]]:
    """Check the types of parameters; returns the session and the arguments."""
    message = spec.message
    expected = message.params
    session = _SESSION.accept(params[0]) if message.has_session else ""
    if message.removed:
        return session, []
    given = params[int(message.has_session) :][: message.accepts]
    arguments = [p.type.accept(value) for p, value in zip(expected, given, strict=False)]
    if spec.record_of is not None:
        arguments = [generated.accept_record(spec.record_of, arguments[0])]
    return session, arguments + [p.default for p in expected[len(given) :]]


def _specs_of(model: DataModel) -> dict[str, Spec]:
    specs = {}
    for cls in model.classes.values():
        for message in cls.messages.values():
            specs[message.wire_name] = _spec_of(cls, message)
        if "get_all_records" in cls.messages and "get_all_records_where" not in cls.messages:
            message = _where_message(cls)
            written = OPERATIONS.get(message.wire_name)
            handler = written or generated.get_all_records_where(cls)
            specs[message.wire_name] = Spec(message, handler)
    unknown = OPERATIONS.keys() - specs.keys()
    if unknown and model.release is None:
        raise ValueError(f"operations that the data model does not have: {sorted(unknown)}")
    methods = sorted(name for name, spec in specs.items() if not spec.message.removed)
    specs |= {name.replace(".", "_", 1): spec for name, spec in specs.items()}  # as in event_from
    listing = _system_message("listMethods", SetType(StringType()))
    specs[listing.wire_name] = Spec(listing, lambda _: methods)
    return specs


def handler_of(cls: ClassModel, message: Message) -> Handler | None:
    """Return what runs a call, or None for one that nobody wrote."""
    return OPERATIONS.get(message.wire_name) or generated.handler_for(cls, message)


def _spec_of(cls: ClassModel, message: Message) -> Spec:
    handler = handler_of(cls, message) or _not_implemented(message.wire_name)
    record = cls if message.name == "create" and message.implicit else None
    return Spec(message, handler, record)


def _not_implemented(method: str) -> Handler:
    def run(call: Call, *arguments: Json) -> None:
        del call, arguments
        raise XapiError("NOT_IMPLEMENTED", method)

    return run


def _where_message(cls: ClassModel) -> Message:
    """Describe the filtered listing, which every class has and the data model does not list."""
    return Message(
        cls=cls.name,
        name="get_all_records_where",
        result=MapType(RefType(cls.name), RecordType(cls.name)),
        params=(Param("expr", StringType()),),
        has_session=True,
        has_async=False,
        implicit=True,
        removed=False,
        since=cls.since,
    )


def _system_message(name: str, result: WireType) -> Message:
    return Message(
        cls="system",
        name=name,
        result=result,
        params=(),
        has_session=False,
        has_async=False,
        implicit=False,
        removed=False,
        since="rio",
    )
