"""How statistics are written: XML, and the three JSON dialects of XAPI's history.

- Up to 8.2 it is no valid JSON: unquoted keys, numbers `%.4f`, bare NaN.
- Then it is valid, all numbers are strings (`%.5g`), and `data` lies within `meta`.
- Since 24.11 `data` lies beside `meta`.

XML has the same texts. Since 23.17 the Accept header chooses, before that `json` in the query.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from xoproxy.simulator.statistics.archives import Export

XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'

Tree: TypeAlias = str | int | float | Mapping[str, "Tree"] | list["Tree"]


class Dialect(Enum):
    """How JSON is written."""

    UNQUOTED = auto()
    NESTED = auto()
    FLAT = auto()


@dataclass(frozen=True, slots=True)
class Manner:
    """What a release does: its dialect, and whether clients choose by the Accept header."""

    dialect: Dialect
    negotiates: bool


def manner_of(release: str | None) -> Manner:
    """Return what a release does: a name or a number of the data model; None for the newest.

    Named releases are all older than numbered ones. Whether the first numbered ones, which no
    product carried, wrote valid JSON already is not established.
    """
    if release is None:
        return Manner(Dialect.FLAT, negotiates=True)
    numbers = release.split(".")
    if not all(number.isascii() and number.isdigit() for number in numbers):
        return Manner(Dialect.UNQUOTED, negotiates=False)
    version = tuple(map(int, numbers))
    dialect = Dialect.FLAT if version >= (24, 11) else Dialect.NESTED
    return Manner(dialect, negotiates=version >= (23, 17))


@dataclass(frozen=True, slots=True)
class Form:
    """A way of writing: XML, or a dialect of JSON; numbers look the same in both."""

    dialect: Dialect
    json: bool

    @property
    def content_type(self) -> str:
        """What the answer says it is; before there was a choice, JSON said nothing."""
        if not self.json:
            return "text/xml"
        return "" if self.dialect is Dialect.UNQUOTED else "application/json"

    def number(self, value: float) -> str:
        """Write a number as OCaml's side does (rrd_utils.ml)."""
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return self.numbers([value])[0]

    def numbers(self, values: Iterable[float]) -> list[str]:
        """Write finite numbers and NaN; many of them, so it is made to be fast."""
        if self.dialect is Dialect.UNQUOTED:
            texts = [f"{value:.4f}" if value else "0.0" for value in values]
        else:
            texts = [f"{value:.5g}" if value else "0.0" for value in values]
        return ["NaN" if text == "nan" else text for text in texts]

    def array(self, values: Iterable[float]) -> str:
        """Write a JSON array of numbers."""
        texts = self.numbers(values)
        if self.dialect is Dialect.UNQUOTED:
            return f"[{','.join(texts)}]"
        return '["' + '","'.join(texts) + '"]' if texts else "[]"

    def tree(self, name: str, tree: Tree) -> str:
        """Write a member of an object or, in XML, the element or elements of that name."""
        if not self.json:
            return self._element(name, tree)
        key = name if self.dialect is Dialect.UNQUOTED else f'"{name}"'
        return f"{key}:{self._json(tree)}"

    def _element(self, name: str, tree: Tree) -> str:
        if isinstance(tree, list):
            return "".join(self._element(name, item) for item in tree)
        if isinstance(tree, Mapping):
            content = "".join(self._element(key, value) for key, value in tree.items())
        else:
            content = self.number(tree) if isinstance(tree, float) else str(tree)
        return f"<{name}>{content}</{name}>"

    def _json(self, tree: Tree) -> str:
        if isinstance(tree, list):
            return f"[{','.join(map(self._json, tree))}]"
        if isinstance(tree, Mapping):
            return "{" + ",".join(self.tree(key, value) for key, value in tree.items()) + "}"
        text = self.number(tree) if isinstance(tree, float) else str(tree)
        bare = self.dialect is Dialect.UNQUOTED and not isinstance(tree, str)
        return text if bare else f'"{text}"'


def export_parts(export: Export, form: Form) -> Iterator[str]:
    """Write an update, row by row."""
    legend = export.legend
    meta: dict[str, Tree] = {
        "start": export.start,
        "step": export.step_s,
        "end": export.end,
        "rows": export.row_count,
        "columns": len(legend),
    }
    return (
        _json_parts(export, form, meta, legend)
        if form.json
        else _xml_parts(export, form, meta, legend)
    )


def _xml_parts(
    export: Export, form: Form, meta: dict[str, Tree], legend: list[str]
) -> Iterator[str]:
    yield f"{XML_HEAD}<xport>{form.tree('meta', {**meta, 'legend': {'entry': list(legend)}})}<data>"
    for moment, values in export.rows():
        columns = "</v><v>".join(form.numbers(values))
        cells = f"<v>{columns}</v>" if columns else ""
        yield f"<row><t>{moment}</t>{cells}</row>"
    yield "</data></xport>"


def _json_parts(
    export: Export, form: Form, meta: dict[str, Tree], legend: list[str]
) -> Iterator[str]:
    head = form.tree("meta", {**meta, "legend": list(legend)})
    if form.dialect is Dialect.UNQUOTED:  # with a space, and then without: as recorded
        yield "{" + head.replace("meta:", "meta: ", 1) + ",data:["
        row = "{t:%d,values:%s}"
    else:
        nested = form.dialect is Dialect.NESTED
        yield "{" + (head.removesuffix("}") if nested else head) + ',"data":['
        row = '{"t":"%d","values":%s}'
    comma = ""
    for moment, values in export.rows():
        yield comma + row % (moment, form.array(values))
        comma = ","
    yield "]}}" if form.dialect is Dialect.NESTED else "]}"
