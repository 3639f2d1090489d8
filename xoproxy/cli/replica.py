"""What a client holds: the documents of its views, kept exact message by message.

A plain reading of docs/protocol.md, sections 3 to 6, without I/O: messages in, documents out. It
checks what the protocol promises (a patch begins where the document stands) and says so when the
promise is broken, instead of going on with a document that may be wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import jsonpatch
from jsonpointer import JsonPointerException

from xoproxy.errors import XoproxyError

Message = dict[str, Any]
Document = dict[str, dict[str, dict[str, Any]]]
"""class -> key -> object"""
Operation = dict[str, Any]


class ReplicaFault(XoproxyError):  # noqa: N818 - reads as what happened
    """A message does not fit what came before: subscribe afresh, without resuming this view."""


@dataclass(slots=True, eq=False)
class ViewReplica:
    """One view: a query's objects on one pool.

    Args:
        pool: whose objects.
        epoch: of the pool's history.
        classes: the members of the document.
        position: the seq at which the document stands.
        complete: whether the snapshot has come to its end; the document is partial before.
        token: the newest resume token that belongs to the document.
        document: class -> key -> object.
    """

    pool: str
    epoch: str
    classes: tuple[str, ...]
    position: int
    complete: bool = False
    token: str | None = None
    document: Document = field(default_factory=dict)
    _parts: list[Operation] = field(default_factory=list)
    _parts_to: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Go back to an empty document that waits for its snapshot."""
        self.document = {cls: {} for cls in self.classes}
        self.complete = False
        self.token = None
        self.drop_parts()

    def drop_parts(self) -> None:
        """Discard what came of a patch so far; the document still stands at its beginning."""
        self._parts = []
        self._parts_to = None

    def add_rows(self, message: Message) -> None:
        if self.complete:
            raise ReplicaFault(f"a snapshot of pool {self.pool} came without being announced")
        if message["keys"]:
            objects = self.document.get(message["class"])
            if objects is None:
                raise ReplicaFault(f"class {message['class']} came without being asked for")
            for key, row in zip(message["keys"], message["rows"], strict=True):
                objects[key] = dict(zip(message["fields"], row, strict=True))
        if message["last"]:
            self.position = message["seq"]
            self.complete = True

    def patch(self, message: Message) -> Sequence[Operation]:
        """Take a patch or a part of one; return the operations that were applied."""
        span = message["from"], message["to"]
        if not self.complete or span[0] != self.position or self._parts_to not in {None, span}:
            raise ReplicaFault(
                f"a patch of pool {self.pool} leads from {span[0]}, the document is at "
                f"{self.position}"
            )
        self._parts.extend(message["ops"])
        if message.get("more"):
            self._parts_to = span
            return ()
        applied = self._parts
        self.drop_parts()
        try:
            jsonpatch.JsonPatch(cast("Any", applied)).apply(self.document, in_place=True)
        except (jsonpatch.JsonPatchException, JsonPointerException) as error:
            raise ReplicaFault(f"a patch of pool {self.pool} does not apply: {error}") from error
        self.position = span[1]
        return applied


class Replica:
    """The views of one connection, and of the connections that follow it.

    Use: `subscription` makes the message to send, `receive` takes every message that comes,
    `disconnected` keeps what can be resumed. Documents are found by subscription and pool.
    """

    def __init__(self) -> None:
        self._views: dict[int, ViewReplica] = {}
        """By their number on the present connection."""
        self._kept: dict[int | str, dict[str, ViewReplica]] = {}
        """By subscription and pool, over connections."""
        self._announced: set[int | str] = set()
        """Subscriptions answered on the present connection."""

    def views(self, subscription: int | str) -> Mapping[str, ViewReplica]:
        """Return a subscription's views by pool; after a disconnection, what it last showed."""
        return self._kept.get(subscription, {})

    def subscription(self, id_: int | str, query: Mapping[str, Any]) -> Message:
        """Make the message that subscribes, resuming what is held."""
        message: Message = {"type": "subscribe", "id": id_, "query": dict(query)}
        points = [
            {"token": view.token, "seq": view.position}
            for view in self.views(id_).values()
            if view.complete and view.token is not None
        ]
        return message | {"resume": points} if points else message

    def disconnected(self) -> None:
        """Forget the connection, not the documents."""
        for view in self._views.values():
            view.drop_parts()
        self._views.clear()
        self._announced.clear()

    def receive(self, message: Message) -> tuple[ViewReplica | None, Sequence[Operation]]:
        """Take one message.

        Returns:
            The view that it is about, if any, and the operations that it applied.

        Raises:
            ReplicaFault: it does not fit; the view will not be resumed.
        """
        type_ = message["type"]
        if type_ == "subscribed":
            self._subscribed(message)
            return None, ()
        if type_ not in {"snapshot", "patch", "bookmark", "reset", "moved"}:
            return None, ()
        view = self._views.get(message["view"])
        if view is None:
            raise ReplicaFault(f"a {type_} is about view {message['view']}, which is not there")
        try:
            return view, self._about_view(type_, view, message)
        except ReplicaFault:
            view.token = None
            raise

    def _about_view(self, type_: str, view: ViewReplica, message: Message) -> Sequence[Operation]:
        match type_:
            case "snapshot":
                view.add_rows(message)
            case "patch":
                return view.patch(message)
            case "bookmark" if message["seq"] == view.position:
                view.token = message["resume"]
            case "reset" if message.get("gone"):
                del self._views[message["view"]]
                for views in self._kept.values():
                    if views.get(view.pool) is view:
                        del views[view.pool]
            case "reset":
                view.epoch = message["epoch"]
                view.position = message["seq"]
                view.forget()
            case "moved":
                self._views[message["as"]] = self._views.pop(message["view"])
                view.position = message["seq"]
                view.token = None  # it names the rights of before
            case _:
                pass  # a bookmark of another position is of no use
        return ()

    def _subscribed(self, message: Message) -> None:
        id_ = message["id"]
        before = self._kept.get(id_, {})
        # The first answer on a connection names all pools; later ones only those that came since.
        views = dict(before) if id_ in self._announced else {}
        self._announced.add(id_)
        for info in message["views"]:
            views[info["pool"]] = self._view(info, before.get(info["pool"]))
        self._kept[id_] = views

    def _view(self, info: Message, held: ViewReplica | None) -> ViewReplica:
        number, pool, epoch, mode = info["view"], info["pool"], info["epoch"], info["mode"]
        if mode == "same":
            if number not in self._views:
                raise ReplicaFault(f"view {number} is said to be here already, but is not")
            return self._views[number]
        if mode == "resume":
            if held is None or held.epoch != epoch:
                raise ReplicaFault(f"pool {pool} resumes a document that is not held")
            view = held
            view.position = info["seq"]
        else:
            view = ViewReplica(pool, epoch, tuple(info["classes"]), info["seq"])
        self._views[number] = view
        return view
