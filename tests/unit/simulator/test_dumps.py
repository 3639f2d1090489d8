"""Database dumps and estate files: everything that is in the file, typed by the model."""

import json
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from tests.shared import shared_files, shared_path, skip_or_fail
from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.dumps import EstateError, LoadedEstate, load_estate
from xoproxy.simulator.estate import generate

MODEL = DataModel.load()
DUMPS = shared_files("recorded/xenadmin", "*")


def loaded(estate: LoadedEstate) -> Database:
    database = Database(MODEL)
    database.load(estate.estate, estate.stamps, estate.generation)
    return database


def tables_of(path: Path) -> list[tuple[str, ET.Element]]:
    names = {name.lower(): name for name in MODEL.classes}
    root = ET.parse(path).getroot()  # noqa: S314  (a file of our own)
    return [(names[table.get("name", "").lower()], table) for table in root.iterfind("table")]


def dump(tmp_path: Path, rows: str, manifest: str = "") -> Path:
    path = tmp_path / "xapi-db.xml"
    path.write_text(f"<database><manifest>{manifest}</manifest>{rows}</database>", "utf-8")
    return path


# -- the recorded ones ---------------------------------------------------------------------


@pytest.fixture(scope="module", params=DUMPS, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    if not request.param.exists():
        skip_or_fail("the recorded dumps are not there")
    assert isinstance(request.param, Path)
    return request.param


@pytest.fixture(scope="module")
def recorded(path: Path) -> Database:
    return loaded(load_estate(path, MODEL))


def test_every_row_of_a_dump_is_an_object(path: Path, recorded: Database) -> None:
    rows: Counter[str] = Counter()
    for cls, table in tables_of(path):
        rows[cls] += len(table)
    assert +rows == +Counter({cls: recorded.count(cls) for cls in recorded.tables})


def test_every_record_of_a_dump_is_complete_and_typed(recorded: Database) -> None:
    for cls, table in recorded.tables.items():
        model = table.model
        for ref in recorded.refs(cls):
            record = recorded.record(cls, ref)
            assert list(model.fields) == list(record)
            for name, field in model.fields.items():
                accepted = field.type.accept(record[name])
                assert accepted == record[name]
                assert type(accepted) is type(record[name]), (cls, name)


def test_simple_values_of_a_dump_are_those_in_the_file(path: Path, recorded: Database) -> None:
    checked = 0
    for cls, table in tables_of(path):
        for row in table:
            record = recorded.record(cls, row.get("ref", ""))
            for attribute, text in row.items():
                value = record.get(attribute.replace("__", "_"))
                if "%" in text or attribute.startswith("__") or isinstance(value, list | dict):
                    continue
                if isinstance(value, bool):
                    assert text == str(value).lower()
                elif isinstance(value, float):
                    assert float(text) == value
                elif value is not None:
                    assert text == str(value), (cls, attribute)
                    checked += 1
    assert checked > 3000


def test_a_dump_s_relations_are_as_they_were(recorded: Database) -> None:
    for ref in recorded.refs("VBD"):
        vm = recorded.get("VBD", ref, "VM")
        if recorded.exists("VM", vm):  # one dump has a VBD without its VM
            assert ref in recorded.get("VM", vm, "VBDs")
    for ref in recorded.refs("host"):
        assert recorded.get("host", ref, "resident_VMs")  # at least its control domain


def test_known_values_of_a_dump() -> None:
    loaded_dump = load_estate(shared_path("recorded/xenadmin/tampa-poolof16and23-xapi-db.xml"))
    database = loaded(loaded_dump)
    assert loaded_dump.warnings == []
    assert database.generation > loaded_dump.generation == 8543
    host = database.record("host", "OpaqueRef:b7ea03ae-3e9f-1f33-f31b-f959c139b495")
    assert host["name_label"] == "dt16"
    assert host["cpu_info"]["modelname"] == "Intel(R) Xeon(R) CPU           X3450  @ 2.67GHz"
    assert host["software_version"]["product_version"] == "6.0.50"
    assert len(host["PBDs"]) == 5
    assert host["https_only"] is False  # of a release that did not know it: the default
    template = database.record("VM", "OpaqueRef:03a51d9b-2d0a-36e4-8c75-c7ecb1f919de")
    disks = (
        '<provision><disk device="0" size="25769803776" sr="" bootable="false" type="system"/>'
        "</provision>"
    )
    assert template["other_config"]["disks"] == disks
    assert template["memory_static_max"] == 2147483648
    assert template["HVM_shadow_multiplier"] == 1.0
    ref = "OpaqueRef:b7ea03ae-3e9f-1f33-f31b-f959c139b495"
    assert loaded_dump.stamps[ref] == (0, 8039)


def test_double_quotes_escapes_and_entities_are_read() -> None:
    database = loaded(load_estate(shared_path("recorded/xenadmin/state.db")))
    ref = "OpaqueRef:85cd3e60-4abe-a0f1-4f5f-9630ec95b09d"
    metrics = database.record("VM_guest_metrics", ref)
    name = r"Microsoft Windows XP Professional|C:\WINDOWS|\Device\Harddisk0\Partition1"
    assert metrics["os_version"]["name"] == name
    names = [
        database.get("VM_guest_metrics", ref, "os_version").get("name", "")
        for ref in database.refs("VM_guest_metrics")
    ]
    assert any("\N{REGISTERED SIGN}" in name for name in names)


def test_lists_that_were_cut_are_read_with_a_warning() -> None:
    cut = load_estate(shared_path("recorded/xenadmin/single-host-krakout.xml"))
    assert len(cut.warnings) == 4
    assert all("field allowed_operations: the list is not closed" in w for w in cut.warnings)


def test_an_estate_of_a_real_server_is_read_as_it_is() -> None:
    path = shared_path("traces/estate_xapi_24.json")
    database = loaded(load_estate(path))
    estate = json.loads(path.read_text("utf-8"))
    del estate["role"]  # those are no rows of a database
    for cls, objects in estate.items():
        assert len(objects) == database.count(cls)
        for ref, record in objects.items():
            assert database.record(cls, ref) | record == database.record(cls, ref)


# -- made up -------------------------------------------------------------------------------


def test_a_dump_is_typed_by_the_model(tmp_path: Path) -> None:
    rows = """
      <table name="VM_metrics"><row ref="OpaqueRef:m" __ctime="3" __mtime="8" uuid="u"
        memory__actual="9007199254740993" VCPUs__number="2" VCPUs__utilisation="(('0' '0.25'))"
        VCPUs__flags="(('0' '(\\'blocked\\' \\'running\\')'))" state="('a')" hvm="true"
        start_time="20240131T12:00:00Z" unheard_of="1"/></table>
      <table name="Secret"><row ref="OpaqueRef:s" uuid="s" value="x"/></table>
      <table name="session"><row ref="OpaqueRef:session" uuid="t"/></table>
      <table name="unheard_of"><row ref="OpaqueRef:x"/></table>
    """
    manifest = '<pair key="generation_count" value="41"/>'
    estate = load_estate(dump(tmp_path, rows, manifest))
    assert estate.estate == {
        "VM_metrics": {
            "OpaqueRef:m": {
                "uuid": "u",
                "memory_actual": 9007199254740993,
                "VCPUs_number": 2,
                "VCPUs_utilisation": {"0": 0.25},
                "VCPUs_flags": {"0": ["blocked", "running"]},
                "state": ["a"],
                "hvm": True,
                "start_time": "20240131T12:00:00Z",
            }
        },
        "secret": {"OpaqueRef:s": {"uuid": "s", "value": "x"}},
    }
    assert estate.stamps == {"OpaqueRef:m": (3, 8)}
    assert estate.generation == 41


def test_operations_of_other_releases_are_left_out_with_a_warning(tmp_path: Path) -> None:
    rows = '<table name="VM"><row ref="r" allowed__operations="(\'start\' \'fly\')"/></table>'
    estate = load_estate(dump(tmp_path, rows))
    assert estate.estate["VM"]["r"]["allowed_operations"] == ["start"]
    assert estate.warnings == [
        "table VM, row r, field allowed_operations: fly is unknown and left out"
    ]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("VCPUs__max", "two"),
        ("VCPUs__max", ""),
        ("is_a_template", "1"),
        ("power_state", "Flying"),
        ("tags", "'a'"),
        ("tags", "('a"),
        ("tags", "(('a' 'b'))"),
        ("other_config", "('a' 'b')"),
        ("other_config", "(('a' 'b' 'c'))"),
        ("snapshot_time", "yesterday"),
        ("HVM__shadow_multiplier", "x"),
    ],
)
def test_a_broken_value_is_named(tmp_path: Path, attribute: str, value: str) -> None:
    path = dump(
        tmp_path, f'<table name="VM"><row ref="OpaqueRef:r" {attribute}="{value}"/></table>'
    )
    with pytest.raises(EstateError) as caught:
        load_estate(path)
    name = attribute.replace("__", "_")
    assert f"{path}: table VM, row OpaqueRef:r, field {name}: {value!r} is broken" in str(
        caught.value
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hello", "neither a XAPI database dump (XML) nor an estate file (JSON)"),
        ("", "neither a XAPI database dump"),
        ("[1]", "neither a XAPI database dump"),
        ("<html></html>", "begins with <database>, this with <html>"),
        ("<database><table", "no XML"),
        ("<database/>", "a database without any object"),
        ("{", "no JSON"),
        ("{}", "no object of any known class"),
        ('{"VMs": {}}', "no object of any known class"),
        ('{"VM": []}', "class VM: expected {ref: record}"),
        ('{"VM": {"r": 1}}', "class VM, r: expected a record"),
        ('{"VM": {"r": {"domid": true}}}', "class VM, r, field domid: "),
        ('{"VM": {"r": {"name_label": 1}}}', "class VM, r, field name_label: "),
        ('<database><table name="VM"><row/></table></database>', "a row without a reference"),
        (
            '<database><table name="VM"><row ref="r"/><row ref="r"/></table></database>',
            "a second row r",
        ),
        (
            '<database><table name="VM"><row ref="r" __mtime="x"/></table></database>',
            "row r, stamp: 'x' is no number",
        ),
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "file"
    path.write_text(content, "utf-8")
    with pytest.raises(EstateError) as caught:
        load_estate(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(EstateError, match=r"cannot read .*nowhere: No such file"):
        load_estate(tmp_path / "nowhere")
    with pytest.raises(EstateError, match=r"cannot read .*: Is a directory"):
        load_estate(tmp_path)


def test_a_generated_estate_survives_a_file(tmp_path: Path) -> None:
    estate = generate(1, 3)
    path = tmp_path / "estate.json"
    path.write_text(json.dumps(estate), "utf-8")
    again = load_estate(path)
    assert estate == again.estate
    assert again.warnings == []
