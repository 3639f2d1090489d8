import json
import re
from pathlib import Path

import pytest

import xoproxy.pool
from xoproxy.auth.commands import COMMANDS, REFERENCES, check, is_reference, shown, shown_failure
from xoproxy.auth.grants import EVERYTHING, Grant, Kind, Rights, Scope
from xoproxy.auth.permissions import BUILT_IN, PERMISSIONS, Role
from xoproxy.cache.schema import SCHEMA
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.errors import ErrorCode, RequestRefused, XapiFailure
from xoproxy.model import NULL_REF, PoolId, Ref, Upsert, XapiClass

POOL = PoolId("p")
MINE, OTHERS = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
ALL = Rights([Grant("", "user root", BUILT_IN["administrator"], EVERYTHING)])


METHODS = json.loads(Path(xoproxy.pool.__file__).with_name("methods.json").read_bytes())["methods"]


def ref(name):
    return f"OpaqueRef:{name}"


def on(uuid, role="user", *, deny=False):
    role = BUILT_IN[role] if isinstance(role, str) else role
    return Grant("g", "user ada", role, Scope(Kind.OBJECT, POOL, uuid), deny)


def everywhere(role):
    return Grant("g", "user ada", BUILT_IN[role], EVERYTHING)


@pytest.fixture(scope="module")
def state():
    """Two VMs, each with a drive and a task; a template, a disk image, a host and storage."""
    records = {
        ("VM", "mine"): {"uuid": MINE, "current_operations": {ref("task"): "start"}},
        ("VM", "other"): {"uuid": OTHERS, "current_operations": {ref("theirs"): "start"}},
        ("VM", "snap"): {"uuid": "s", "snapshot_of": ref("mine")},
        ("VM", "template"): {"uuid": "t", "tags": ["offer"]},
        ("VBD", "drive"): {"uuid": "d", "VM": ref("mine"), "type": "CD"},
        ("VBD", "disk"): {"uuid": "e", "VM": ref("mine"), "type": "Disk"},
        ("VBD", "disk-too"): {"uuid": "f", "VM": ref("mine"), "type": "Disk"},
        ("VBD", "other-disk"): {"uuid": "g", "VM": ref("other"), "type": "Disk"},
        ("VDI", "image"): {"uuid": "i", "VBDs": []},
        ("VDI", "inserted"): {"uuid": "j", "VBDs": [ref("drive")]},
        ("VDI", "data"): {"uuid": "m", "VBDs": [ref("disk")]},
        ("VDI", "shared"): {"uuid": "n", "VBDs": [ref("disk-too"), ref("other-disk")]},
        ("host", "host"): {"uuid": "h"},
        ("SR", "sr"): {"uuid": "sr"},
        ("task", "task"): {"uuid": "k"},
        ("task", "theirs"): {"uuid": "l"},
    }
    store = Store(POOL, "epoch")
    prepared = store.prepare(
        Upsert(XapiClass(cls), Ref(ref(name)), json.dumps(record).encode())
        for (cls, name), record in records.items()
    )
    while prepared.step():
        pass
    store.commit(prepared, 0.0)
    for _ in store.index_references():
        pass
    return State(store, store.seq)


def refusal(rights, state, method, **params):
    """Return the code and text of what is refused; None for what is not."""
    try:
        check(rights, state, method, params)
    except RequestRefused as refused:
        return refused.code, refused.message
    return None


class TestTable:
    @pytest.mark.parametrize("method", COMMANDS)
    def test_names_methods_of_xapi_and_a_parameter_that_they_need(self, method):
        cls, _, name = method.partition(".")
        assert COMMANDS[method].subject in METHODS[cls][name].split()
        assert cls in SCHEMA.event_classes

    @pytest.mark.parametrize("method", COMMANDS)
    def test_asks_for_leaves_of_the_tree(self, method):
        """A permission above others would not notice that one of those is denied."""
        assert COMMANDS[method].permissions
        assert set(COMMANDS[method].permissions) <= PERMISSIONS.keys()

    def test_leaves_no_permission_without_use(self):
        used = {name for command in COMMANDS.values() for name in command.permissions}
        assert PERMISSIONS.keys() - used == {"view", "secrets.read", "vm.console"}

    def test_stands_in_the_protocol(self):
        told: dict[str, tuple[set[str], str]] = {}
        text = (Path(__file__).parents[3] / "docs/protocol.md").read_text()
        for needed, methods in re.findall(
            r"^\| `([a-z.]+)` \| (`\w+\.\w+\(.*) \|$", text, re.MULTILINE
        ):
            for method, subject in re.findall(r"`([\w.]+)\((\w+)\)`", methods):
                told.setdefault(method, (set(), subject))[0].add(needed)
                assert told[method][1] == subject
        assert told == {m: (set(c.permissions), c.subject) for m, c in COMMANDS.items()}

    def test_edits_nothing_that_scopes_are_made_of(self):
        for method in COMMANDS:
            assert not any(word in method for word in ("tags", "other_config", "VCPUs_params"))


class TestCheck:
    def test_who_administers_may_call_anything(self, state):
        assert refusal(ALL, state, "VM.create", args={}) is None
        assert refusal(ALL, state, "no.thing") is None

    def test_a_subject_with_its_permission(self, state):
        rights = Rights([on(MINE)])
        assert refusal(rights, state, "VM.start", vm=ref("mine"), force=False) is None

    def test_what_goes_with_the_subject_of_a_grant(self, state):
        rights = Rights([on(MINE), on("i", "viewer")])
        assert refusal(rights, state, "VBD.insert", vbd=ref("drive"), vdi=ref("image")) is None
        assert refusal(rights, state, "VM.revert", snapshot=ref("snap")) is None
        assert refusal(rights, state, "task.cancel", task=ref("task")) is None
        assert refusal(rights, state, "task.cancel", task=ref("theirs")) == (
            ErrorCode.NOT_FOUND,
            "there is no task 'OpaqueRef:theirs'",
        )

    def test_a_method_that_is_in_no_table(self, state):
        for method in ("VM.add_tags", "VM.Start", "vm.start", "VDI.forget", "session.logout", ""):
            assert refusal(Rights([everywhere("user")]), state, method, self=ref("mine")) == (
                ErrorCode.FORBIDDEN,
                "raw XAPI calls are for administrators",
            )

    @pytest.mark.parametrize("params", [{}, {"vm": None}, {"vm": MINE}, {"vm": [ref("mine")]}])
    def test_a_subject_that_is_no_reference(self, state, params):
        assert refusal(Rights([on(MINE)]), state, "VM.start", **params) == (
            ErrorCode.BAD_MESSAGE,
            "VM.start needs the parameter 'vm': the reference of a VM",
        )

    @pytest.mark.parametrize("name", ["other", "none", "drive", "NULL", "", "mine x"])
    def test_a_subject_that_he_may_not_see_is_not_there(self, state, name):
        assert refusal(Rights([on(MINE)]), state, "VM.start", vm=ref(name)) == (
            ErrorCode.NOT_FOUND,
            f"there is no VM '{ref(name)}'",
        )

    def test_a_permission_that_he_lacks_is_named(self, state):
        rights = Rights([on(MINE, "viewer")])
        assert refusal(rights, state, "VM.start", vm=ref("mine")) == (
            ErrorCode.FORBIDDEN,
            "VM.start needs the permission vm.power.start on this VM",
        )

    def test_all_permissions_are_needed_and_a_denial_of_one_counts(self, state):
        hard = Role("hard", frozenset({"vm.power.shutdown.hard"}))
        rights = Rights([on(MINE), on(MINE, hard, deny=True)])
        assert refusal(rights, state, "VM.clean_shutdown", vm=ref("mine")) is None
        for method in ("VM.hard_shutdown", "VM.shutdown"):
            assert refusal(rights, state, method, vm=ref("mine")) == (
                ErrorCode.FORBIDDEN,
                f"{method} needs the permission vm.power.shutdown.hard on this VM",
            )

    def test_making_vms_from_a_template_is_not_making_it_one(self, state):
        maker = Role("maker", frozenset({"view", "vm.create"}))
        rights = Rights([Grant("g", "", maker, Scope(Kind.TAG, value="offer"))])
        assert refusal(rights, state, "VM.clone", vm=ref("template"), new_name="x") is None
        assert refusal(rights, state, "VM.provision", vm=ref("template")) == (
            ErrorCode.FORBIDDEN,
            "VM.provision needs the permission vm.provision on this VM",
        )

    @pytest.mark.parametrize("name", ["host", "none", "mine-x"])
    @pytest.mark.parametrize("inside", ["{}", "to {}, please", "{}/x"])
    @pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [[v]], lambda v: {"a": {v: 1}}])
    def test_whatever_else_the_parameters_name_must_be_seen(self, state, name, inside, wrap):
        params = {"vm": ref("mine"), "host": NULL_REF, "options": wrap(inside.format(ref(name)))}
        rights = Rights([on(MINE), on(MINE, "operator")])
        code, text = refusal(rights, state, "VM.pool_migrate", **params) or (None, "")
        assert code is ErrorCode.NOT_FOUND
        assert text.startswith("there is no object 'OpaqueRef:")

    def test_a_disk_is_destroyed_by_who_may_destroy_all_vms_that_have_it(self, state):
        def destroy(rights, name):
            return refusal(Rights(rights), state, "VDI.destroy", self=ref(name))

        lacks = (
            ErrorCode.FORBIDDEN,
            "VDI.destroy needs the permission vm.destroy on all VMs whose disk it is",
        )
        assert destroy([on(MINE)], "data") is None
        assert destroy([on(MINE)], "shared") == lacks
        assert destroy([on(MINE), on(OTHERS, "operator")], "shared") == lacks
        assert destroy([on(MINE), on(OTHERS)], "shared") is None
        assert destroy([on(MINE)], "inserted") == lacks
        assert destroy([everywhere("user")], "image") == lacks
        assert destroy([on(MINE, "operator")], "data") == (
            ErrorCode.FORBIDDEN,
            "VDI.destroy needs the permission vm.destroy on this VDI",
        )

    def test_a_parameter_is_taken_as_a_whole(self, state):
        """XAPI looks for all of it, not for the part that looks like a reference."""
        rights = Rights([on(MINE, "operator")])
        params = {"vm": ref("mine"), "host": ref("mine_x")}
        assert refusal(rights, state, "VM.pool_migrate", **params) == (
            ErrorCode.NOT_FOUND,
            "there is no object 'OpaqueRef:mine_x'",
        )

    def test_what_he_may_see_may_be_named(self, state):
        rights = Rights([on(MINE, "operator"), on("h", "viewer")])
        params = {"vm": ref("mine"), "host": ref("host"), "options": {"a": f"[{ref('mine')}]"}}
        assert refusal(rights, state, "VM.pool_migrate", **params) is None

    def test_names_only_so_many_objects(self, state):
        rights = Rights([on(MINE)])
        many = [ref(f"x{i}") for i in range(REFERENCES)]
        code, text = refusal(rights, state, "VM.start", vm=ref("mine"), force=many) or (None, "")
        assert code is ErrorCode.BAD_MESSAGE
        assert str(REFERENCES) in text

    def test_depth_is_no_trouble(self, state):
        deep: list = [ref("mine")]
        for _ in range(5_000):
            deep = [deep]
        assert refusal(Rights([on(MINE)]), state, "VM.start", vm=ref("mine"), force=deep) is None

    def test_a_pool_of_which_he_sees_nothing(self, state):
        elsewhere = Grant("g", "", BUILT_IN["user"], Scope(Kind.POOL, PoolId("q")))
        for rights in (Rights([]), Rights([elsewhere])):
            for method in ("VM.start", "VM.create"):
                assert refusal(rights, state, method, vm=ref("mine")) == (
                    ErrorCode.NOT_FOUND,
                    "there is no pool 'p'",
                )

    def test_an_operator_of_everything_is_no_administrator(self, state):
        rights = Rights([everywhere("operator")])
        assert refusal(rights, state, "VM.start", vm=ref("other")) is None
        assert refusal(rights, state, "SR.scan", sr=ref("sr")) is None
        assert refusal(rights, state, "VM.destroy", self=ref("other")) == (
            ErrorCode.FORBIDDEN,
            "VM.destroy needs the permission vm.destroy on this VM",
        )
        assert refusal(rights, state, "VM.create", args={}) == (
            ErrorCode.FORBIDDEN,
            "raw XAPI calls are for administrators",
        )


class TestShown:
    def test_hides_references_and_uuids_of_what_is_not_seen(self, state):
        visibility = Rights([on(MINE)]).visibility(POOL)
        given = [
            ref("mine"),
            ref("other"),
            {ref("other"): 1, "a": f"{OTHERS.upper()} and {OTHERS} and {MINE}", MINE: OTHERS},
            OTHERS,
            7,
            None,
        ]
        assert shown(visibility, state, given) == [
            ref("mine"),
            {"a": f"{NULL_REF} and {NULL_REF} and {MINE}", MINE: NULL_REF},
            7,
            None,
        ]
        assert shown(visibility, state, ref("none")) == NULL_REF

    def test_keeps_the_places_of_an_errors_parameters(self, state):
        visibility = Rights([on(MINE)]).visibility(POOL)
        texts = ("VM", ref("other"), ref("mine"), "", f"VDI {OTHERS} is in use by {ref('sr')}")
        found = shown_failure(visibility, state, XapiFailure("VDI_IN_USE", texts))
        assert found.code == "VDI_IN_USE"
        assert found.params == (
            "VM",
            NULL_REF,
            ref("mine"),
            "",
            f"VDI {NULL_REF} is in use by {NULL_REF}",
        )

    @pytest.mark.parametrize("code", ["SR_BACKEND_FAILURE_44", "INTERNAL_ERROR", "HOST_IS_SLAVE"])
    def test_keeps_what_programs_put_out_to_itself(self, state, code):
        visibility = Rights([everywhere("operator")]).visibility(POOL)
        texts = ("", f"mount nas:/secret on {ref('mine')}", ref("mine"), ref("none"))
        found = shown_failure(visibility, state, XapiFailure(code, texts))
        assert (found.code, found.params) == (code, ("", "", ref("mine"), NULL_REF))

    def test_hides_everything_from_who_sees_nothing(self, state):
        assert shown(None, state, [ref("mine"), MINE, NULL_REF, "x"]) == [NULL_REF, "x"]


def test_a_reference_is_one_and_nothing_else():
    assert is_reference(ref("mine"))
    assert not any(map(is_reference, (NULL_REF, ref("a b"), MINE, None, [ref("a")], "")))
