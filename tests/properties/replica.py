"""A client of its own making: what it holds after a stream of bytes, and whether that was lawful.

Nothing of the product is imported here. Frames are cut after RFC 6455 and inflated with zlib after
RFC 7692, messages are read by the `json` and `msgpack` packages, patches applied by `jsonpatch`,
and the rules are those of docs/protocol.md, each checked where a message would break it.
"""

import json
import re
import zlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import jsonpatch
import msgpack

from tests.properties import digests

TEXT, BINARY = 1, 2
_WINDOW = ("order", "total", "facets")
"""Members of a window's document, beside its class."""
_EMPTY_BLOCK = b"\x00\x00\xff\xff"


class Fault(AssertionError):  # noqa: N818 - the server's, in the sense of docs/protocol.md
    """The server broke the protocol."""


def canonical(value: Any) -> str:
    """Write JSON so that equal texts mean equal in type and value, members without order."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


class FrameReader:
    """Cuts a server's byte stream into messages.

    Args:
        opcode: of all data frames.
        deflate: whether permessage-deflate (without context takeover) was negotiated.
    """

    def __init__(self, opcode: int, *, deflate: bool) -> None:
        self._opcode = opcode
        self._deflate = deflate
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the payloads that are complete, inflated; keep the rest."""
        self._buffer += data
        while (cut := self._cut()) is not None:
            yield cut

    @property
    def is_between_frames(self) -> bool:
        return not self._buffer

    def _cut(self) -> bytes | None:
        data = self._buffer
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size >= 126:
            width = 2 if size == 126 else 8
            start = 2 + width
            if len(data) < start:
                return None
            size = int.from_bytes(data[2:start])
            _require(size >= (126 if width == 2 else 1 << 16), "a length is not the shortest form")
        if len(data) < start + size:
            return None
        payload, self._buffer = data[start : start + size], data[start + size :]
        _require(data[1] < 128, "a server's frame is masked")
        _require(data[0] & 0xB0 == 0x80, "a frame is no final one, or uses RSV2 or RSV3")
        _require(data[0] & 0x0F == self._opcode, "a frame is of the wrong kind")
        if data[0] & 0x40:
            _require(self._deflate, "RSV1 without negotiation")
            payload = _inflate(payload)
        return payload


def _inflate(payload: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # a new one each time: no context is taken over
    plain = inflater.decompress(payload + _EMPTY_BLOCK)
    _require(not inflater.unused_data and not inflater.eof, "no well-formed deflate message")
    return plain


def _require(fact: object, fault: str) -> None:
    if not fact:
        raise Fault(fault)


@dataclass
class Document:
    """A view as the client holds it."""

    view: int
    pool: str | None
    """None for a window."""
    epoch: str
    classes: list[str]
    query: Any
    position: int = 0
    complete: bool = False
    untold: bool = False
    """Whether it stands where the next message may say that it is another view."""
    must_move: bool = False
    content: dict[str, Any] = field(default_factory=dict)
    parts: list[Any] | None = None
    parts_span: tuple[int, int] = (0, 0)
    token: str | None = None
    token_seq: int = 0
    subscriptions: set[Any] = field(default_factory=set)
    resets: list[str] = field(default_factory=list)
    patch_count: int = 0
    """Without those that led to other rights, which no rate holds back."""
    was_patched: bool = False
    """Whether its last message was the end of a patch."""
    claim: str = ""
    """Of a comparison: digests are "due", were "said" or "spoilt", or the answer is "coming"."""
    buckets: int = 0
    differing: list[int] = field(default_factory=list)
    was_compared: bool = False
    """Then 1 and 1.0 were one number: some may be spelt as before."""

    def clear(self) -> None:
        self.content = {cls: {} for cls in self.classes}
        self.complete = False
        self.parts = None
        self.untold = self.must_move = False
        self.claim = ""
        self.was_compared = False

    def by_ref(self) -> dict[str, dict[str, Any]]:
        """Return the document with references for keys and without members of ours."""
        found: dict[str, dict[str, Any]] = {}
        for cls, objects in self.content.items():
            refs = [o["$ref"] for o in objects.values()]
            _require(len(refs) == len(set(refs)), "one object stands there twice")
            found[cls] = {
                o["$ref"]: {n: v for n, v in o.items() if not n.startswith("$")}
                for o in objects.values()
            }
        return found

    @property
    def resume_point(self) -> dict[str, Any] | None:
        """What a client that lost its connection now may hand in; None for a fresh start."""
        if not self.complete or self.token is None:
            return None
        return {"token": self.token, "seq": self.position}


class Replica:
    """One connection's client.

    Args:
        binary: MessagePack, not JSON.
        deflate: whether compression was negotiated.
        moved: called whenever a document is whole and stands at a position it was told.
        keys: (pool, epoch, key) -> reference, of all clients together: a key names one object.
    """

    def __init__(
        self,
        *,
        binary: bool,
        deflate: bool,
        moved: Callable[[Document], None] | None = None,
        keys: dict[tuple[str, str, str], str] | None = None,
    ) -> None:
        self.binary = binary
        self.documents: dict[int, Document] = {}
        self.messages: list[dict[str, Any]] = []
        self.answers: dict[Any, dict[str, Any]] = {}
        """The latest `result` or `error` of each id."""
        self.errors: list[dict[str, Any]] = []
        self.gone: list[tuple[str | None, str]] = []
        self.moved = moved
        self.may_move: Callable[[Document], bool] = lambda _: False
        """Tells of which documents the next patch may lead to another view."""
        self._keys = {} if keys is None else keys
        self._reader = FrameReader(BINARY if binary else TEXT, deflate=deflate)
        self._asked: dict[Any, Any] = {}
        self._offered: dict[Any, list[Document]] = {}
        self._leaving: set[Any] = set()
        self._comparing: set[Any] = set()

    def will_subscribe(
        self, id_: Any, query: Any, offered: list[Document], *, compare: bool = False
    ) -> None:
        """Note what was asked, and the documents for which resume points were handed in."""
        self._asked[id_] = query
        self._offered[id_] = offered
        if compare:
            self._comparing.add(id_)

    @property
    def due(self) -> list[Document]:
        """The documents whose digests the server waits for."""
        return [document for document in self.documents.values() if document.claim == "due"]

    def digests(self, document: Document, buckets: int, *, spoilt: bool) -> dict[str, Any]:
        """Return the message that says what is held; it will be sent, perhaps spoilt."""
        document.claim = "spoilt" if spoilt else "said"
        document.buckets = buckets
        said = digests.digests(document.content, buckets)
        return {"type": "digests", "view": document.view, "buckets": buckets, "digests": said}

    def will_unsubscribe(self, id_: Any) -> None:
        self._leaving.add(id_)

    def receive(self, data: bytes) -> list[dict[str, Any]]:
        """Take bytes as they come; return the messages in them, each handled."""
        received = []
        for payload in self._reader.feed(data):
            decoded = self._decode(payload)
            for message in decoded if isinstance(decoded, list) else [decoded]:
                _require(isinstance(message, dict), "a message is no map")
                self._handle(message)
                received.append(message)
            self._end_frame()
        self.messages.extend(received)
        return received

    def _end_frame(self) -> None:
        """A patch to other rights and its `moved` are one frame: what has not moved by now stays.

        Those of windows, which nobody can resume, may come apart.
        """
        for document in self.documents.values():
            if document.untold and document.pool is not None:
                document.untold = False
                if self.moved is not None:
                    self.moved(document)

    @property
    def is_between_frames(self) -> bool:
        return self._reader.is_between_frames

    def payloads(self, data: bytes) -> Iterator[str]:
        """Decode bytes without handling them, as texts that can be searched."""
        for payload in self._reader.feed(data):
            yield canonical(self._decode(payload))

    def _decode(self, payload: bytes) -> Any:
        if self.binary:
            return msgpack.unpackb(payload, strict_map_key=True, object_pairs_hook=_members)
        return json.loads(payload, object_pairs_hook=_members, parse_constant=_no_constant)

    def _handle(self, message: dict[str, Any]) -> None:
        handler = getattr(self, f"_on_{message['type']}", None)
        if handler is None:
            raise Fault(f"unknown message {message['type']}")
        document = self.documents.get(message.get("view", 0))
        if document is not None and message["type"] not in ("moved", "reset"):
            _require(not document.must_move, "a patch led nowhere, and no view moved")
            if document.untold:
                document.untold = False
                if self.moved is not None:
                    self.moved(document)
            document.was_patched = False
        handler(message)

    def _on_welcome(self, message: dict[str, Any]) -> None:
        _require(message["protocol"] == "xoproxy.v1", "another protocol")

    def _on_pong(self, message: dict[str, Any]) -> None:
        pass

    def _on_error(self, message: dict[str, Any]) -> None:
        self.errors.append(message)
        self.answers[message.get("id")] = message
        self._leaving.discard(message.get("id"))

    def _on_result(self, message: dict[str, Any]) -> None:
        id_ = message["id"]
        self.answers[id_] = message
        if id_ in self._leaving:
            self._leaving.discard(id_)
            for number, document in list(self.documents.items()):
                document.subscriptions.discard(id_)
                if not document.subscriptions:
                    del self.documents[number]

    def _on_subscribed(self, message: dict[str, Any]) -> None:
        id_ = message["id"]
        _require(id_ in self._asked, "nobody asked for this subscription")
        pools = [info["pool"] for info in message["views"]]
        _require(len(pools) == len(set(pools)), "one pool has two views")
        for info in message["views"]:
            self._begin_view(id_, info)

    def _begin_view(self, id_: Any, info: dict[str, Any]) -> None:
        number = info["view"]
        _require(info["mode"] in ("snapshot", "resume", "compare", "same"), "unknown mode")
        if info["mode"] == "same":
            document = self.documents.get(number)
            _require(document is not None, "`same` names a view that this connection has not")
            assert document is not None
            if document.complete:
                _require(info["seq"] == document.position, "`same` tells another position")
            document.subscriptions.add(id_)
            return
        _require(number not in self.documents, "a view begins twice")
        document = Document(
            number, info["pool"], info["epoch"], list(info["classes"]), self._asked[id_]
        )
        document.subscriptions.add(id_)
        document.clear()
        if info["mode"] in ("resume", "compare"):
            old = next((d for d in self._offered[id_] if d.pool == info["pool"]), None)
            if old is None or not old.complete or old.epoch != info["epoch"]:
                raise Fault("resumed what was not offered")
            document.content, document.was_compared = deepcopy(old.content), old.was_compared
            _require(sorted(old.content) == sorted(info["classes"]), "resumed with other classes")
            _require(info["seq"] >= 0, "no position")
            if info["mode"] == "resume":
                document.complete = True
                document.token, document.token_seq = old.token, old.token_seq
            else:
                _require(id_ in self._comparing, "compared without an offer")
                document.claim = "due"
        document.position = info["seq"]
        self.documents[number] = document
        if document.complete:
            self._tell(document)

    def _tell(self, document: Document) -> None:
        document.untold = self.may_move(document)
        if self.moved is not None and not document.untold:
            self.moved(document)

    def _document(self, message: dict[str, Any]) -> Document:
        document = self.documents.get(message["view"])
        if document is None:
            raise Fault(f"{message['type']} names a view that is not ours")
        return document

    def _on_snapshot(self, message: dict[str, Any]) -> None:
        document = self._document(message)
        _require(not document.complete, "a snapshot of a document that is whole")
        _require(document.parts is None, "a snapshot between parts")
        _require(document.claim not in ("due", "spoilt"), "nobody said what to compare with")
        _require(("buckets" in message) == (document.claim == "said"), "`buckets` or not?")
        if document.claim == "said":
            self._begin_comparison(document, message)
        _require(message["seq"] == document.position, "a snapshot of another position")
        _require(isinstance(message["last"], bool), "`last` is not a boolean")
        _require(len(message["keys"]) == len(message["rows"]), "keys and rows do not match")
        if message["keys"]:
            objects = document.content[message["class"]]
            for key, row in zip(message["keys"], message["rows"], strict=True):
                _require(key not in objects, "a snapshot has an object twice")
                if document.claim:
                    bucket = digests.place(message["class"], key) % document.buckets
                    _require(bucket in document.differing, "what did not differ came again")
                objects[key] = dict(zip(message["fields"], row, strict=True))
                self._note(document, key, objects[key])
        window = {n: message[n] for n in _WINDOW if n in message}
        _require(bool(window) == (message["last"] and document.pool is None), "a window or not?")
        if message["last"]:
            document.content |= window
            document.complete = True
            document.claim = ""
            self._tell(document)

    def _begin_comparison(self, document: Document, message: dict[str, Any]) -> None:
        differing = document.differing = message["buckets"]
        _require(differing == sorted(set(differing)), "buckets out of order")
        _require(all(0 <= b < document.buckets for b in differing), "a bucket that is not")
        digests.remove_buckets(document.content, document.buckets, differing)
        document.claim, document.was_compared = "coming", True
        document.position = message["seq"]

    def _on_patch(self, message: dict[str, Any]) -> None:
        document = self._document(message)
        span = message["from"], message["to"]
        _require(document.complete, "a patch before the snapshot's last")
        _require(
            span[0] == document.position, f"from {span[0]}, but we stand at {document.position}"
        )
        _require(span[1] >= span[0], "a patch that leads back")
        if document.parts is not None:
            _require(span == document.parts_span, "parts of different patches are mixed")
        document.parts_span = span
        document.parts = (document.parts or []) + message["ops"]
        if message.get("more", False):
            return
        document.must_move = span[1] == span[0]
        operations, document.parts = document.parts, None
        for operation in operations:
            self._apply(document, operation)
        document.position = span[1]
        document.patch_count += 1
        document.was_patched = True
        self._tell(document)

    def _apply(self, document: Document, operation: dict[str, Any]) -> None:
        op, path = operation["op"], operation["path"]
        segments = [s.replace("~1", "/").replace("~0", "~") for s in path.split("/")[1:]]
        is_window = document.pool is None and len(segments) == 1 and segments[0] in _WINDOW
        _require(is_window or 2 <= len(segments) <= 4, f"a path of the wrong length: {path}")
        _require(not is_window or op == "replace", f"{op} {path}: it is replaced")
        _require(op in ("add", "replace", "remove"), f"operation {op}")
        parent = document.content
        for segment in segments[:-1]:
            _require(segment in parent, f"{op} {path}: no {segment!r}")
            parent = parent[segment]
        # stricter than RFC 6902, in which `add` may replace
        if isinstance(parent, list):
            last = len(parent) - (op != "add")
            _require(segments[-1] in map(str, range(last + 1)), f"{op} {path}: no such place")
        else:
            _require((segments[-1] in parent) == (op != "add"), f"{op} {path}: there or not?")
        jsonpatch.apply_patch(document.content, canonical([operation]), in_place=True)
        if op != "remove" and len(segments) == 2:
            self._note(document, segments[1], parent[segments[1]])

    def _note(self, document: Document, key: str, record: dict[str, Any]) -> None:
        _require(0 < len(key) <= 12, "a key is too long")
        named = record["$ref"] if document.pool else f"{record['$pool']} {record['$ref']}"
        owner = self._keys.setdefault((document.pool or "", document.epoch, key), named)
        _require(owner == named, "a key names two objects")

    def _on_bookmark(self, message: dict[str, Any]) -> None:
        document = self._document(message)
        _require(document.complete and document.parts is None, "a bookmark of half a document")
        _require(message["seq"] == document.position, "a bookmark of another position")
        document.token, document.token_seq = message["resume"], message["seq"]

    def _on_moved(self, message: dict[str, Any]) -> None:
        document = self._document(message)
        del self.documents[document.view]
        there = self.documents.get(message["as"])
        if there is not None:
            there.subscriptions |= document.subscriptions
            return
        if document.parts is not None or message["seq"] != document.position:
            document.complete = False  # the way is lost: a reset must follow
        document.view = message["as"]
        document.patch_count -= document.was_patched
        document.was_patched = False
        document.token = None
        document.must_move = False
        self.documents[document.view] = document
        if document.untold and document.complete:
            self._tell(document)

    def _on_reset(self, message: dict[str, Any]) -> None:
        document = self._document(message)
        document.resets.append(message["reason"])
        if message.get("gone", False):
            del self.documents[document.view]
            self.gone.append((document.pool, message["reason"]))
            return
        _require(document.claim != "due", "a reset before the digests")
        document.clear()
        document.token = None
        document.epoch, document.position = message["epoch"], message["seq"]


def _members(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    _require(all(isinstance(name, str) for name, _ in pairs), "a map's key is no text")
    _require(len({name for name, _ in pairs}) == len(pairs), "a map has a key twice")
    return dict(pairs)


def _no_constant(text: str) -> Any:
    raise Fault(f"{text} is not JSON")


_REFERENCE = re.compile(r"OpaqueRef:[0-9A-Za-z-]+")


def references(text: str) -> set[str]:
    """Find the references in a text, NULL aside."""
    return set(_REFERENCE.findall(text)) - {"OpaqueRef:NULL"}
