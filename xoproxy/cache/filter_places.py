"""Where a filter's path leads in a class: to a field, a key of a map, a field behind a reference.

Every term is looked up in every class that is asked for, and most classes do not have it. That must
cost next to nothing: what is wrong with a path is put into words only for the one that is refused.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from xoproxy.cache.filter_syntax import Criterion, FilterError
from xoproxy.cache.filter_values import Check, key_check, value_check
from xoproxy.cache.query_error import quoted
from xoproxy.cache.schema import FieldType, Schema
from xoproxy.cache.suggest import did_you_mean
from xoproxy.model import XapiClass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads in one class.

    Args:
        field: the class's own field.
        type: the field's.
        key: of a map.
        target: the place in the object that the field refers to.
    """

    field: str
    type: FieldType
    key: str | None = None
    target: "Place | None" = None

    @property
    def check(self) -> Callable[[Criterion], Check]:
        """How values that stand here are tested; raises Refusal when they cannot be."""
        if self.target is not None:
            return self.target.check
        return key_check(self.type) if self.key is not None else value_check(self.field, self.type)


@dataclass(frozen=True, slots=True)
class Lost:
    """Why a path leads nowhere.

    Args:
        cls: the class in which it goes astray.
        name: the field there.
        type: the field's; None when the class has no such field.
        rest: of the path, behind the field.
    """

    cls: XapiClass
    name: str
    type: FieldType | None
    rest: tuple[str, ...]

    def error(self, schema: Schema, position: int) -> FilterError:
        """Put it into words."""
        name, kind = self.name, self.type
        if kind is None:
            return no_field(schema, [self.cls], name, position)
        if kind.kind == "map":
            hint = f'put the key in quotes: {name}."{".".join(self.rest)}"'
            return FilterError(f"{name} is a map of plain values", position, hint)
        if kind.kind == "ref" and kind.target is not None:
            return FilterError("only one reference can be followed", position)
        back = "ask the other class, and follow its reference back" if kind.of == "ref" else None
        what = "a set" if kind.kind == "set" else f"no map or reference but {kind.kind}"
        return FilterError(f"{name} is {what}: nothing can follow it", position, back)


def find_place(
    schema: Schema, cls: XapiClass, path: tuple[str, ...], *, may_follow: bool = True
) -> Place | Lost:
    """Follow a path from a class, over one reference at most."""
    name, rest = path[0], path[1:]
    kind = schema.fields(cls).get(name)
    if kind is None:
        return Lost(cls, name, None, rest)
    if not rest:
        return Place(name, kind)
    if kind.kind == "map" and len(rest) == 1:
        return Place(name, kind, key=rest[0])
    if kind.kind == "ref" and kind.target is not None and may_follow:
        target = find_place(schema, kind.target, rest, may_follow=False)
        return target if isinstance(target, Lost) else Place(name, kind, target=target)
    return Lost(cls, name, kind, rest)


def no_field(
    schema: Schema, classes: Collection[XapiClass], name: str, position: int
) -> FilterError:
    """Say that none of the classes has a field, and what was probably meant."""
    hints = [
        did_you_mean(name, {field for cls in classes for field in schema.fields(cls)}),
        next((f"{cls} has it" for cls in sorted(schema.classes_with(name))), None),
    ]
    hint = "; ".join(filter(None, hints)) or None
    who = f"{next(iter(classes))} has no" if len(classes) == 1 else "none of the classes has a"
    return FilterError(f"{who} field {quoted(name)}", position, hint)
