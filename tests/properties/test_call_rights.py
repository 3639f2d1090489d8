"""A call is let through just when its user may: told by a few lines of plain Python.

And what he may not see is refused in the same words as what is not there.
"""

import json
from dataclasses import dataclass

from hypothesis import event, given
from hypothesis import strategies as st

from xoproxy.auth.commands import COMMANDS, check, shown
from xoproxy.auth.grants import EVERYTHING, Grant, Kind, Rights, Scope
from xoproxy.auth.permissions import ALL, PERMISSIONS, Role
from xoproxy.cache.state import State
from xoproxy.cache.store import Store
from xoproxy.errors import ErrorCode, RequestRefused
from xoproxy.model import PoolId, Ref, Upsert, XapiClass

POOL, OTHER_POOL = PoolId("p"), PoolId("q")
NULL = "OpaqueRef:NULL"
GOES_WITH = {
    "snapshot": ["a"],
    "drive-a": ["a"],
    "drive-b": ["b"],
    "shared": ["drive-a", "drive-b"],
    "disk": ["drive-a"],
    "task-a": ["a"],
    "task-sr": ["sr"],
}
"""Object -> those that it goes with, by the records below."""
CLASSES = {
    **dict.fromkeys(("a", "b", "template", "snapshot"), "VM"),
    **dict.fromkeys(("drive-a", "drive-b"), "VBD"),
    **dict.fromkeys(("shared", "disk", "image"), "VDI"),
    **dict.fromkeys(("task-a", "task-sr", "task-lost"), "task"),
    "sr": "SR",
    "host": "host",
}
NAMES = sorted(CLASSES)
TAGS = ["blue", "red"]


def ref(name: str) -> str:
    return f"OpaqueRef:{name}"


def uuid(name: str) -> str:
    return f"{NAMES.index(name):08d}-0000-0000-0000-000000000000"


def record(name: str, tags: list[str]) -> dict[str, object]:
    links: dict[str, dict[str, object]] = {
        "snapshot": {"snapshot_of": ref("a")},
        "drive-a": {"VM": ref("a"), "type": "Disk"},
        "drive-b": {"VM": ref("b"), "type": "Disk"},
        "disk": {"VBDs": [ref("drive-a")]},
        "shared": {"VBDs": [ref("drive-a"), ref("drive-b")]},
        "a": {"current_operations": {ref("task-a"): "start"}},
        "sr": {"current_operations": {ref("task-sr"): "scan"}},
    }
    return {"uuid": uuid(name), "tags": tags, **links.get(name, {})}


@dataclass
class Oracle:
    """Who may what, said once more."""

    tags: dict[str, list[str]]
    grants: list[Grant]

    def reaches(self, grant: Grant, name: str) -> bool:
        match grant.scope:
            case Scope(Kind.EVERYTHING):
                return True
            case Scope(Kind.POOL, pool):
                return pool == POOL
            case Scope(Kind.OBJECT, pool, value):
                return pool == POOL and value == uuid(name)
            case Scope(Kind.TAG, value=value):
                return value in self.tags[name]
            case _:
                raise AssertionError

    def has(self, grant: Grant, permission: str) -> bool:
        return any(
            held == ALL or f"{permission}.".startswith(f"{held}.")
            for held in grant.role.permissions
        )

    def given(self, permission: str, name: str, *, deny: bool) -> bool:
        return any(
            grant.deny is deny and self.has(grant, permission) and self.reaches(grant, name)
            for grant in self.grants
        )

    def denied(self, permission: str, name: str) -> bool:
        with_ = GOES_WITH.get(name, [])
        return self.given(permission, name, deny=True) or (
            bool(with_) and all(self.denied(permission, other) for other in with_)
        )

    def may(self, permission: str, name: str) -> bool:
        return not self.denied(permission, name) and (
            self.given(permission, name, deny=False)
            or any(self.may(permission, other) for other in GOES_WITH.get(name, []))
        )

    def may_end(self, disk: str) -> bool:
        drives = GOES_WITH.get(disk, [])
        return bool(drives) and all(self.may("vm.destroy", drive) for drive in drives)

    @property
    def administers(self) -> bool:
        everything = [g for g in self.grants if g.scope == EVERYTHING and ALL in g.role.permissions]
        return bool(everything) and not any(grant.deny for grant in self.grants)

    def lets(self, method: str, params: dict[str, object]) -> bool:
        if self.administers:
            return True
        if method not in COMMANDS:
            return False
        command = COMMANDS[method]
        subject = name_of(params.get(command.subject))
        return (
            subject is not None
            and CLASSES.get(subject) == method.partition(".")[0]
            and self.may("view", subject)
            and all(self.may(needed, subject) for needed in command.permissions)
            and (method != "VDI.destroy" or self.may_end(subject))
            and all(name in CLASSES and self.may("view", name) for name in names_in(params))
        )


def name_of(value: object) -> str | None:
    is_ref = isinstance(value, str) and value.startswith("OpaqueRef:")
    return str(value).removeprefix("OpaqueRef:") if is_ref else None


def names_in(value: object) -> set[str]:
    """Find the names in JSON; the texts below have blanks about what they name."""
    words = set(json.dumps(value).replace('"', " ").replace(",", " ").split())
    return {w.removeprefix("OpaqueRef:") for w in words if w.startswith("OpaqueRef:")} - {"NULL"}


_parts = sorted({".".join(n.split(".")[:i]) for n in PERMISSIONS for i in range(1, 5)})
_some = st.frozensets(st.sampled_from(_parts), max_size=4)
_roles = st.builds(
    Role,
    st.just("r"),
    st.one_of(_some, *[_some.map(lambda some: some | {"view"})] * 3, st.just(frozenset({ALL}))),
)
_scopes = st.one_of(
    st.just(EVERYTHING),
    st.just(EVERYTHING),
    st.builds(Scope, st.just(Kind.POOL), st.sampled_from([POOL, OTHER_POOL])),
    st.builds(
        Scope,
        st.just(Kind.OBJECT),
        st.sampled_from([POOL, POOL, OTHER_POOL]),
        st.sampled_from(NAMES).map(uuid),
    ),
    st.builds(Scope, st.just(Kind.TAG), value=st.sampled_from(TAGS)),
)
_denies = st.sampled_from([False, False, False, True])
_grants = st.lists(
    st.builds(Grant, st.just("g"), st.just("user ada"), _roles, _scopes, _denies),
    min_size=1,
    max_size=5,
)
_tags = st.fixed_dictionaries({name: st.lists(st.sampled_from(TAGS), max_size=1) for name in NAMES})
_refs = st.sampled_from([*NAMES, *NAMES, "none"]).map(ref) | st.just(NULL)
_texts = _refs | st.sampled_from(["", "x"]) | _refs.map("see {} there".format)
_values = st.recursive(
    _texts | st.none() | st.integers(0, 3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_texts, inner, max_size=2),
    max_leaves=4,
)
_methods = st.sampled_from([*COMMANDS, "VM.add_tags", "VDI.destroy", "VDI.destroy", "VM.nothing"])


@st.composite
def _calls(draw):
    """Draw a method and parameters, the subject mostly one that may be right."""
    method = draw(_methods)
    params: dict[str, object] = draw(
        st.dictionaries(st.sampled_from(["options", "host", "new_name"]), _values, max_size=1)
    )
    if method in COMMANDS:
        cls = method.partition(".")[0]
        right = st.sampled_from([name for name in NAMES if CLASSES[name] == cls]).map(ref)
        params[COMMANDS[method].subject] = draw(st.one_of(right, right, right, _values))
    return method, params


def state_of(tags: dict[str, list[str]]) -> State:
    store = Store(POOL, "epoch")
    prepared = store.prepare(
        Upsert(XapiClass(CLASSES[n]), Ref(ref(n)), json.dumps(record(n, tags[n])).encode())
        for n in NAMES
    )
    while prepared.step():
        pass
    store.commit(prepared, 0.0)
    for _ in store.index_references():
        pass
    return State(store, store.seq)


def refusal(rights: Rights, state: State, method: str, params: dict[str, object]):
    try:
        check(rights, state, method, params)
    except RequestRefused as refused:
        return refused
    return None


@given(_tags, _grants, _calls())
def test_a_call_is_let_through_just_when_its_user_may(tags, grants, call):
    oracle = Oracle(tags, grants)
    refused = refusal(Rights(grants), state_of(tags), *call)
    event("let through" if refused is None else refused.code)
    assert (refused is None) == oracle.lets(*call)


@given(_tags, _grants, _calls(), st.sampled_from(NAMES))
def test_what_is_hidden_is_refused_like_what_is_not_there(tags, grants, call, name):
    """Have the same call name a hidden object, and one that is not there: only names differ."""
    oracle = Oracle(tags, grants)
    if oracle.administers or oracle.may("view", name):
        return
    method, params = call
    hidden, missing = ref(name), ref("x" * len(name))
    answers = []
    for named in (hidden, missing):
        changed = json.loads(json.dumps(params).replace(hidden, named))
        if method in COMMANDS and changed.get(COMMANDS[method].subject) != named:
            changed["options"] = [changed.get("options"), named]
        refused = refusal(Rights(grants), state_of(tags), method, changed)
        answers.append(refused and (refused.code, refused.message.replace(named, "it")))
    event(str(answers[0] and answers[0][0]))
    assert answers[0] == answers[1]
    assert answers[0] is not None
    if method in COMMANDS:
        assert answers[0][0] in {ErrorCode.NOT_FOUND, ErrorCode.FORBIDDEN, ErrorCode.BAD_MESSAGE}


@given(_tags, _grants, _values)
def test_what_is_shown_names_nothing_that_is_hidden(tags, grants, value):
    oracle, state = Oracle(tags, grants), state_of(tags)
    visibility = Rights(grants).visibility(POOL)
    told = shown(visibility, state, value)
    for name in names_in(told):
        assert oracle.may("view", name)
    text = json.dumps(value)
    if all(name in CLASSES and oracle.may("view", name) for name in names_in(value)):
        assert told == value, text
    uuids = [uuid(name) for name in NAMES]
    seen = shown(visibility, state, uuids)
    assert seen == [uuid(name) for name in NAMES if oracle.may("view", name)]
