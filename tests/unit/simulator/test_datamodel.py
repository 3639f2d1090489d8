"""The data model that the simulator carries."""

import json
import subprocess
import sys
from pathlib import Path

from tests.shared import shared_path
from xoproxy.simulator.datamodel import DataModel, Link
from xoproxy.simulator.wiretypes import RefType

ROOT = Path(__file__).resolve().parents[3]
MODEL = ROOT / "xoproxy" / "simulator" / "datamodel.json"


def test_it_is_parsed_once():
    assert DataModel.load() is DataModel.load()


def test_a_class_knows_its_fields_messages_and_flags():
    vm = DataModel.load().classes["VM"]

    assert (vm.table, vm.gen_events, vm.persist) == ("vm", True, True)
    assert vm.fields["affinity"].type == RefType("host")
    assert vm.fields["name_label"].default == ""
    assert vm.fields["platform"].required
    assert not vm.fields["VBDs"].required
    start = vm.messages["start"]
    assert [p.name for p in start.params] == ["vm", "start_paused", "force"]
    assert start.has_async
    assert not start.implicit


def test_defaults_have_the_type_of_their_field():
    host = DataModel.load().classes["host"]

    assert host.fields["virtual_hardware_platform_versions"].default == [0]


def test_optional_parameters_have_their_defaults():
    login = DataModel.load().classes["session"].messages["login_with_password"]

    assert not login.has_session
    assert [(p.optional, p.default) for p in login.params[2:]] == [(True, "1.1"), (True, "")]


def test_relations_link_both_classes():
    classes = DataModel.load().classes

    assert classes["VBD"].links["VM"] == [Link("VM", "VBDs")]
    assert "VBDs" in classes["VM"].derived
    assert classes["VM"].links["groups"] == [Link("VM_group", "VMs")]
    assert classes["VM_group"].links["VMs"] == [Link("VM", "groups")]
    assert "roles" not in classes["subject"].links


def test_one_class_a_line():
    lines = MODEL.read_text().splitlines()

    assert sum(line.startswith('"VM":{') for line in lines) == 1
    assert json.loads(MODEL.read_text())["classes"].keys() == DataModel.load().classes.keys()


def test_the_tool_makes_the_same_file_again(tmp_path: Path):
    full = shared_path("xapi/datamodel.json")
    made = tmp_path / "datamodel.json"
    tool = ROOT / "tools" / "make_datamodel.py"
    subprocess.run([sys.executable, str(tool), str(full), str(made)], check=True)  # noqa: S603

    assert made.read_text() == MODEL.read_text()
