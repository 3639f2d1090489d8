import json

import pytest

from tests.shared import shared_path
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.pool import methods
from xoproxy.pool.methods import event_classes, resolve


def test_named_parameters_are_put_into_xapis_order():
    call = resolve("VM.start", {"force": 1, "vm": 2, "start_paused": 3})

    assert (call.method, call.params, call.as_task) == ("VM.start", (2, 3, 1), True)


def test_trailing_optional_parameters_may_be_left_out():
    assert resolve("VM.snapshot", {"new_name": "n", "vm": "v"}).params == ("v", "n")
    assert resolve("VM.snapshot", {"new_name": "n", "vm": "v", "ignore_vdis": []}).params == (
        "v",
        "n",
        [],
    )


def test_setters_and_what_returns_numbers_run_directly():
    assert not resolve("VM.set_name_label", {"self": "v", "value": "x"}).as_task
    assert not resolve("host.compute_free_memory", {"host": "h"}).as_task
    assert resolve("VM.clean_shutdown", {"vm": "v"}).as_task


@pytest.mark.parametrize(
    ("method", "params", "code", "words"),
    [
        ("session.logout", {}, ErrorCode.FORBIDDEN, "session"),
        ("event.from", {}, ErrorCode.FORBIDDEN, "event"),
        ("secret.get_all_records", {}, ErrorCode.FORBIDDEN, "secret"),
        ("Secret.get_all_records", {}, ErrorCode.FORBIDDEN, "Secret"),
        ("VM.strat", {}, ErrorCode.BAD_MESSAGE, "did you mean 'VM.start'"),
        ("vm.start", {}, ErrorCode.BAD_MESSAGE, "did you mean 'VM.start'"),
        ("Async.VM.start", {}, ErrorCode.BAD_MESSAGE, "write 'VM.start'"),
        ("nonsense", {}, ErrorCode.BAD_MESSAGE, "no method"),
        ("", {}, ErrorCode.BAD_MESSAGE, "no method"),
        ("VM.start", {"vm": 1}, ErrorCode.BAD_MESSAGE, "needs the parameter 'start_paused'"),
        ("VM.start", {"forse": 1}, ErrorCode.BAD_MESSAGE, "did you mean 'force'"),
        ("VM.get_all", {"self": 1}, ErrorCode.BAD_MESSAGE, "it takes none"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_hint(method, params, code, words):
    with pytest.raises(RequestRefused) as caught:
        resolve(method, params)

    assert code is caught.value.code
    assert words in caught.value.message


def test_an_optional_parameter_in_the_middle_cannot_be_left_out():
    given = {
        "vm": 1,
        "dest": {},
        "live": True,
        "vdi_map": {},
        "vif_map": {},
        "options": {},
        "vdi_format_map": {},
    }

    with pytest.raises(RequestRefused, match="'vgpu_map' cannot be left out"):
        resolve("VM.migrate_send", given)


def test_classes_come_from_the_pool_when_it_names_them():
    names = [
        "VM.get_all_records",
        "secret.get_all_records",
        "session.get_all_records",
        "role.get_all_records",
        "Thing.get_all_records",
        "VM.start",
    ]

    assert {"VM", "Thing"} == event_classes(names)


def test_the_fallback_has_every_class_with_events_and_no_other():
    model = json.loads(shared_path("xapi/datamodel.json").read_text())["classes"]

    listed = {
        name
        for name, cls in model.items()
        if cls["gen_events"] and "get_all_records" in cls["messages"]
    }
    assert listed - {"role"} == event_classes()
    assert {
        name.lower() for name, cls in model.items() if not cls["gen_events"]
    } == methods.NO_EVENTS


def test_the_facts_agree_with_the_model():
    model = json.loads(shared_path("xapi/datamodel.json").read_text())["classes"]
    for name, cls in model.items():
        if name in methods.REFUSED_CLASSES:
            continue
        for method, message in cls["messages"].items():
            names = [p[0] for p in message["params"] if p[0] != "session_id"]
            call = resolve(f"{name}.{method}", dict.fromkeys(names, 1))
            assert len(names) == len(call.params)
            assert not call.as_task or message.get("async")
