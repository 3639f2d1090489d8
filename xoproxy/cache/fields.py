"""Which fields of a class a query names: paths to them, and masks made of such paths.

A path is a field (`name_label`) or one key of a map (`other_config.folder`); a key with dots or
colons is quoted, as in filters.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from xoproxy.cache.diff import Fields, join, split
from xoproxy.cache.filter_syntax import parse_path, path_text
from xoproxy.cache.query_error import QueryError, quoted
from xoproxy.cache.schema import SCHEMA, FieldType, Schema
from xoproxy.cache.suggest import did_you_mean
from xoproxy.model import XapiClass

_OBJECT_START = ord("{")


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A field of a class, or one key of a field that is a map."""

    field: str
    key: str | None = None

    def __str__(self) -> str:
        return path_text((self.field,) if self.key is None else (self.field, self.key))


@dataclass(frozen=True, slots=True)
class Mask:
    """The fields that a query asks for of one class.

    Args:
        names: all of them, those of which only some keys are asked for included.
        keys: (map field, the keys asked for), sorted by field.
    """

    names: frozenset[str]
    keys: tuple[tuple[str, frozenset[str]], ...] = ()

    @classmethod
    def of(cls, paths: Iterable[FieldPath]) -> "Mask":
        """Put paths together; a field that is named as a whole is shown as a whole."""
        whole: set[str] = set()
        parts: dict[str, set[str]] = {}
        for path in paths:
            if path.key is None:
                whole.add(path.field)
            else:
                parts.setdefault(path.field, set()).add(path.key)
        keys = tuple((f, frozenset(parts[f])) for f in sorted(parts.keys() - whole))
        return cls(frozenset(whole | parts.keys()), keys)

    @property
    def texts(self) -> list[str]:
        """The one way to write this mask."""
        return sorted(map(str, self._paths()))

    def cut(self, fields: Fields) -> Fields:
        """Return what is asked for of (some of) a record's fields."""
        names = self.names
        if not self.keys:
            return {n: v for n, v in fields.items() if n in names}
        shown = {n: v for n, v in fields.items() if n in names}
        for name, keys in self.keys:
            if name in shown:
                shown[name] = _with_keys(shown[name], keys)
        return shown

    def _paths(self) -> Iterator[FieldPath]:
        in_part = dict(self.keys)
        for name in self.names:
            if name in in_part:
                yield from (FieldPath(name, key) for key in in_part[name])
            else:
                yield FieldPath(name)


def _with_keys(value: msgspec.Raw, keys: frozenset[str]) -> msgspec.Raw:
    """Cut keys out of a map; what is no map (null, perhaps) is shown as it is."""
    if memoryview(value)[0] != _OBJECT_START:
        return value
    members = split(value)
    shown = {k: v for k, v in members.items() if k in keys}
    return value if len(shown) == len(members) else msgspec.Raw(join(shown))


def field_path(text: str, cls: XapiClass, schema: Schema = SCHEMA) -> FieldPath:
    """Understand a path in a class.

    Raises:
        QueryError: it leads nowhere; the position is one in `text`.
    """
    field, *keys = parse_path(text)
    known = schema.fields(cls).get(field)
    if known is None:
        _refuse_field(field, cls, schema)
    if not keys:
        return FieldPath(field)
    key_position = text.index(".") + 1  # no field's name has a dot or needs quotes
    if known.kind != "map":
        raise QueryError(
            f"{field} of {cls} is no map: it has no keys",
            key_position,
            _instead(field, known),
        )
    if len(keys) > 1:
        hint = f"put the key in quotes: {path_text((field, '.'.join(keys)))}"
        raise QueryError(f"{field} is a map of plain values", key_position, hint)
    return FieldPath(field, keys[0])


def _instead(field: str, known: FieldType) -> str:
    if known.target is not None:
        return f"ask for class {known.target}, too, with its own fields"
    return f"write {field}"


def _refuse_field(name: str, cls: XapiClass, schema: Schema) -> NoReturn:
    if name.startswith("$"):
        raise QueryError(f"{name} always comes", 0, "leave it out")
    hint = did_you_mean(name, schema.fields(cls))
    raise QueryError(f"{cls} has no field {quoted(name)}", 0, hint)
