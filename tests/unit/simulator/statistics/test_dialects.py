"""How statistics are written, compared with what real hosts wrote."""

import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.shared import shared_path
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.statistics.dialects import (
    Dialect,
    Form,
    Manner,
    export_parts,
    manner_of,
)
from xoproxy.simulator.statistics.dumps import dump_parts
from xoproxy.simulator.statistics.series import Activity
from xoproxy.simulator.statistics.sources import Kind, Measured, Source


@dataclass
class Given:
    """An update with given values."""

    start: int
    step_s: int
    end: int
    legend: list[str]
    values: list[tuple[int, list[float]]]

    @property
    def row_count(self) -> int:
        return len(self.values)

    def rows(self) -> Iterator[tuple[int, list[float]]]:
        return iter(self.values)


SMALL: Any = Given(
    100, 5, 105, ["AVERAGE:vm:v:a", "AVERAGE:vm:v:b"], [(105, [0.0, math.nan]), (100, [0.25, 1e7])]
)
SOURCES = [Source("cpu0", Kind("", "", 1.0), 0.0, 1.0), Source("big", Kind("", ""), 3e9)]
HOST = Measured("host", "h", Activity(3), SOURCES, extremes=True)
NOW = 1_790_000_123.0


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314  (our own, and a recorded one)


def written(export: Any, form: Form) -> str:
    return "".join(export_parts(export, form))


def test_the_oldest_dialect_is_what_a_host_of_8_2_wrote():
    recorded = shared_path("recorded/datadog/rrd_updates_8.2_nonstandard.json").read_text().strip()
    quoted = re.sub(r"([{,] ?)(\w+):", r'\1"\2":', recorded)
    told = json.loads(quoted)
    meta = told["meta"]
    given = Given(
        meta["start"],
        meta["step"],
        meta["end"],
        meta["legend"],
        [(row["t"], row["values"]) for row in told["data"]],
    )

    ours = written(given, Form(Dialect.UNQUOTED, json=True))

    # the recording was cut to fewer columns than its head says
    assert ours.replace(f"columns:{len(given.legend)}", f"columns:{meta['columns']}") == recorded


def test_the_second_dialect_has_strings_and_its_data_within_meta():
    assert json.loads(written(SMALL, Form(Dialect.NESTED, json=True))) == {
        "meta": {
            "start": "100",
            "step": "5",
            "end": "105",
            "rows": "2",
            "columns": "2",
            "legend": SMALL.legend,
            "data": [
                {"t": "105", "values": ["0.0", "NaN"]},
                {"t": "100", "values": ["0.25", "1e+07"]},
            ],
        }
    }


def test_the_third_dialect_has_its_data_beside_meta():
    second = json.loads(written(SMALL, Form(Dialect.NESTED, json=True)))
    data = second["meta"].pop("data")

    assert json.loads(written(SMALL, Form(Dialect.FLAT, json=True))) == {**second, "data": data}


def test_xml_has_the_same_texts():
    root = parsed(written(SMALL, Form(Dialect.FLAT, json=False)))

    assert root.tag == "xport"
    assert [child.tag for child in root] == ["meta", "data"]
    assert [(e.tag, e.text) for e in root[0]][:5] == [
        ("start", "100"),
        ("step", "5"),
        ("end", "105"),
        ("rows", "2"),
        ("columns", "2"),
    ]
    assert [e.text for e in root.findall("meta/legend/entry")] == SMALL.legend
    assert [[e.text for e in row] for row in root.findall("data/row")] == [
        ["105", "0.0", "NaN"],
        ["100", "0.25", "1e+07"],
    ]


@pytest.mark.parametrize("json_", [True, False])
@pytest.mark.parametrize("dialect", Dialect)
def test_an_update_without_columns_and_rows_is_well_formed(dialect, json_):
    empty: Any = Given(0, 5, 0, [], [])
    text = written(empty, Form(dialect, json=json_))
    if not json_:
        assert parsed(text).find("meta/rows") is not None
    elif dialect is Dialect.UNQUOTED:
        assert text == "{meta: {start:0,step:5,end:0,rows:0,columns:0,legend:[]},data:[]}"
    else:
        assert json.loads(text)["meta"]["legend"] == []


def test_a_dump_has_the_elements_of_a_recorded_one():
    recorded = parsed(shared_path("recorded/xen-api/rrd_flip_flop.xml").read_text())
    ours = parsed("".join(dump_parts(HOST, Form(Dialect.FLAT, json=False), NOW)))

    def paths(root: ET.Element) -> set[str]:
        found = {root.tag}
        for child in root:
            found |= {f"{root.tag}/{path}" for path in paths(child)}
        return found

    # this one element was written by older releases only (rrd.ml)
    assert paths(ours) == paths(recorded) - {"rrd/ds/last_updated"}


@pytest.mark.parametrize("dialect", [Dialect.NESTED, Dialect.FLAT])
def test_a_dump_in_json_says_the_same_as_in_xml(dialect):
    root = parsed("".join(dump_parts(HOST, Form(dialect, json=False), NOW)))
    told = json.loads("".join(dump_parts(HOST, Form(dialect, json=True), NOW)))

    assert [ds["name"] for ds in told["ds"]] == [e.text for e in root.findall("ds/name")]
    assert [(rra["cf"], rra["pdp_per_row"]) for rra in told["rra"]] == [
        (e.findtext("cf"), e.findtext("pdp_per_row")) for e in root.findall("rra")
    ]
    for rra, element in zip(told["rra"], root.findall("rra"), strict=True):
        assert rra["database"] == [[v.text for v in row] for row in element.findall("database/row")]
        assert [ds["value"] for ds in rra["cdp_prep"]["ds"]] == [
            e.text for e in element.findall("cdp_prep/ds/value")
        ]


def test_a_dump_in_the_oldest_dialect_has_bare_keys_and_numbers():
    text = "".join(dump_parts(HOST, Form(Dialect.UNQUOTED, json=True), NOW))

    assert text.startswith(
        '{version:"0003",step:5,lastupdate:1790000123.0000,ds:[{name:"cpu0",type:"GAUGE",'
        "minimal_heartbeat:300.0000,min:0.0,max:1.0000,"
    )
    assert text.endswith("3000000000.0000]]}]}")


@pytest.mark.parametrize(
    ("release", "manner"),
    [
        (None, Manner(Dialect.FLAT, negotiates=True)),
        ("7.6", Manner(Dialect.UNQUOTED, negotiates=False)),
        ("8.2", Manner(Dialect.UNQUOTED, negotiates=False)),
        ("22.20.0", Manner(Dialect.NESTED, negotiates=False)),
        ("23.18.0", Manner(Dialect.NESTED, negotiates=True)),
        ("24.10.0", Manner(Dialect.NESTED, negotiates=True)),
        ("24.14.0", Manner(Dialect.FLAT, negotiates=True)),
        ("8.3", Manner(Dialect.FLAT, negotiates=True)),
    ],
)
def test_a_release_has_its_dialect(release, manner):
    found = DataModel.load(release).release

    assert manner_of(found.name if found else None) == manner


def test_infinite_bounds_have_names():
    form = Form(Dialect.FLAT, json=True)

    assert [form.number(v) for v in (math.inf, -math.inf, math.nan)] == [
        "Infinity",
        "-Infinity",
        "NaN",
    ]
