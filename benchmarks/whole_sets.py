"""What patches would be if sets were always replaced whole, for comparison."""

from typing import Any

import jsonpatch
import msgspec

from benchmarks.trace import Message

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class _Document:
    """class -> key -> object."""

    def __init__(self) -> None:
        self.content: dict[str, dict[str, dict[str, Any]]] = {}

    def put(self, snapshot: Message) -> None:
        objects = self.content.setdefault(snapshot["class"], {})
        for key, row in zip(snapshot["keys"], snapshot["rows"], strict=True):
            objects[key] = dict(zip(snapshot["fields"], row, strict=True))

    def apply(self, operations: list[Any]) -> None:
        # A copy: the document keeps the values that it is given, and changes them later.
        patch = jsonpatch.JsonPatch(_decode(_encode(operations)))
        patch.apply(self.content, in_place=True)


class WholeSets:
    """Rewrites patches; keeps the documents that both kinds lead to, so that they can be compared.

    Args:
        start: `subscribed` and the messages of the snapshot.
    """

    def __init__(self, start: list[Message]) -> None:
        self._given, self._written = _Document(), _Document()
        for message in start:
            for document in (self._given, self._written):
                if message["type"] == "subscribed":
                    classes = message["views"][0]["classes"]
                    document.content = {cls: {} for cls in classes}
                elif message["type"] == "snapshot" and message["keys"]:
                    document.put(_decode(_encode(message)))

    def rewrite(self, patch: Message) -> Message:
        self._given.apply(patch["ops"])
        operations: dict[str, Any] = {}
        for number, operation in enumerate(patch["ops"]):
            whole = self._whole(operation)
            operations.setdefault(whole["path"] if whole else str(number), whole or operation)
        written = {**patch, "ops": list(operations.values())}
        self._written.apply(written["ops"])
        return written

    def check(self) -> None:
        if _encode(self._given.content) != _encode(self._written.content):
            raise AssertionError("whole sets led to another document")

    def _whole(self, operation: Message) -> Message | None:
        """Return the replacement of the whole set of which an operation changes a member."""
        match operation["path"].split("/"):  # no name of a field must be escaped
            case [_, cls, key, field, _]:
                value = self._given.content[cls].get(key, {}).get(field)
                if isinstance(value, list):
                    return {"op": "replace", "path": f"/{cls}/{key}/{field}", "value": value}
            case _:
                pass
        return None
