"""The filter against a second, naive evaluator that shares no code with it.

The drawn tree is written as text in many spellings, and evaluated here on plain values by the
rules of docs/queries.md.
"""

import json
import re
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from xoproxy.cache.diff import split
from xoproxy.cache.filter import FilterError, parse_filter
from xoproxy.model import XapiClass

VM, HOST = XapiClass("VM"), XapiClass("host")
HOSTS_ONLY = ("enabled",)
VM_ONLY = ("power_state", "VCPUs_max", "is_a_template", "resident_on", "snapshot_time")
TEXT_FIELDS = ("name_label", "name_description")

texts = st.one_of(
    st.sampled_from(["web", "Web", "WEB-1", "null", "true", "", "a b", "Running", "4", "10", "é"]),
    st.text("ab\"\\ :()|!./'$-<>=é\n", max_size=4),
)
dates = st.sampled_from(["20231231T23:59:59Z", "20240131T12:00:00Z", "20240201T00:00:00Z"])
refs = st.sampled_from(["OpaqueRef:h1", "OpaqueRef:h2", "OpaqueRef:NULL", "OpaqueRef:gone"])
numbers = st.integers(-1, 12)
keys = st.sampled_from(["k", "a.b", "x:y", "", 'q"'])
common = {
    "uuid": st.sampled_from(["u1", "u2"]),
    "name_label": texts,
    "name_description": texts,
    "tags": st.lists(texts, max_size=3),
    "other_config": st.dictionaries(keys, texts, max_size=3),
}
vms = st.fixed_dictionaries(
    {},
    optional={
        **common,
        "power_state": st.sampled_from(["Running", "Halted", "Dreaming"]),
        "VCPUs_max": numbers,
        "is_a_template": st.booleans(),
        "resident_on": refs,
        "snapshot_time": dates,
    },
)
hosts = st.fixed_dictionaries({}, optional={**common, "enabled": st.booleans()})


@dataclass(frozen=True)
class Leaf:
    path: tuple[str, ...]
    op: str  # "", "=", "<", ..., "null", "bare"
    text: str = ""


comparisons = st.sampled_from(["<", "<=", ">", ">="])
word_ops = st.sampled_from(["", "="])
own_leaves = st.one_of(
    st.builds(Leaf, st.just(()), st.just(""), texts),
    st.builds(
        Leaf,
        st.sampled_from((*TEXT_FIELDS, "tags", "other_config")).map(lambda f: (f,)),
        word_ops,
        texts,
    ),
    st.builds(Leaf, keys.map(lambda k: ("other_config", k)), word_ops, texts),
    st.builds(Leaf, keys.map(lambda k: ("other_config", k)), comparisons, numbers.map(str)),
    st.builds(Leaf, st.just(("uuid",)), word_ops, st.sampled_from(["u1", "u", "U1"])),
    st.builds(
        Leaf,
        st.sampled_from(["name_label", "tags", "other_config", "uuid"]).map(lambda f: (f,)),
        st.just("null"),
    ),
    st.builds(Leaf, keys.map(lambda k: ("other_config", k)), st.just("null")),
)
vm_leaves = st.one_of(
    st.builds(
        Leaf,
        st.just(("power_state",)),
        word_ops,
        st.sampled_from(["Running", "Halted"]),
    ),
    st.builds(Leaf, st.just(("power_state",)), st.just("="), st.sampled_from(["Dreaming", "Run"])),
    st.builds(Leaf, st.just(("VCPUs_max",)), st.one_of(word_ops, comparisons), numbers.map(str)),
    st.builds(Leaf, st.just(("is_a_template",)), word_ops, st.sampled_from(["true", "false"])),
    st.builds(Leaf, st.just(("is_a_template",)), st.just("bare")),
    st.builds(Leaf, st.just(("resident_on",)), word_ops, refs),
    st.builds(Leaf, st.just(("resident_on",)), st.just("null")),
    st.builds(
        Leaf,
        st.just(("snapshot_time",)),
        comparisons,
        st.sampled_from(["2024", "2024-01-31", "20240131T12:00:00Z", "202402"]),
    ),
)
host_leaves = st.one_of(
    st.builds(Leaf, st.just(("enabled",)), st.just("bare")),
    st.builds(Leaf, st.just(("enabled",)), word_ops, st.sampled_from(["true", "false"])),
)


def through_the_host(leaf: Leaf) -> Leaf:
    return Leaf(("resident_on", *leaf.path), leaf.op, leaf.text)


hops = (own_leaves | host_leaves).filter(lambda leaf: leaf.path != ()).map(through_the_host)
leaves = st.one_of(own_leaves, vm_leaves, host_leaves, hops)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)


# --- writing a tree as text, in any spelling ---


def quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def spelling(draw, text: str, bare: str) -> str:
    if re.fullmatch(bare, text) and text != "null" and draw(st.booleans()):
        return text
    return quoted(text)


def write(draw, tree) -> str:
    space = draw(st.sampled_from(["", " ", "\n "]))
    if isinstance(tree, Leaf):
        return write_leaf(draw, tree)
    kind, operands = tree
    if kind == "not":
        return f"!{space}{write_operand(draw, operands, space)}"
    glue = (space or " ") if kind == "and" else f"{space}|{space}"
    shuffled = draw(st.permutations(operands))
    return glue.join(write_operand(draw, operand, space) for operand in shuffled)


def write_operand(draw, tree, space) -> str:
    text = write(draw, tree)
    simple = isinstance(tree, Leaf) or tree[0] == "not"
    return text if simple and draw(st.booleans()) else f"({space}{text}{space})"


def write_leaf(draw, leaf: Leaf) -> str:
    if not leaf.path:
        # Bare words may be boolean fields, so they need letters that no field begins with.
        return spelling(draw, leaf.text, r"[wWé][\w-]*")
    path = ".".join(spelling(draw, name, r"\w+") for name in leaf.path)
    if leaf.op == "bare":
        return ".".join(leaf.path)
    if leaf.op == "null":
        return f"{path}:null"
    value = spelling(draw, leaf.text, r"\w[\w:.$!<>=/-]*")
    return f"{path}:{leaf.op}{value}"


@st.composite
def filters(draw):
    tree = draw(trees)
    return tree, write(draw, tree)


# --- evaluating a tree, naively ---


def evaluate(tree, cls, record, world):
    if isinstance(tree, Leaf):
        return evaluate_leaf(tree, cls, record, world)
    kind, operands = tree
    if kind == "not":
        return not evaluate(operands, cls, record, world)
    results = [evaluate(operand, cls, record, world) for operand in operands]
    return all(results) if kind == "and" else any(results)


def evaluate_leaf(leaf: Leaf, cls, record, world):  # noqa: PLR0911
    if not leaf.path:
        return any(
            leaf.text.casefold() in record[name].casefold()
            for name in (*TEXT_FIELDS, "uuid")
            if name in record
        )
    field, *rest = leaf.path
    if field in (HOSTS_ONLY if cls == VM else VM_ONLY):
        return False
    if field == "resident_on" and rest:
        target = world.get(record.get(field))
        return target is not None and evaluate_leaf(
            Leaf(tuple(rest), leaf.op, leaf.text), HOST, target, world
        )
    if rest:
        value = record.get(field, {}).get(rest[0])
        if leaf.op in ("<", "<=", ">", ">="):
            return value in [str(n) for n in range(-9, 99)] and compare(
                int(value), leaf.op, int(leaf.text)
            )
        return fits(value, leaf, substring=True)
    value = record.get(field)
    if leaf.op in ("<", "<=", ">", ">="):
        if value is None:
            return False
        if field == "snapshot_time":
            literal = leaf.text.replace("-", "")
            return compare(value[: len(literal)], leaf.op, literal)
        return compare(value, leaf.op, int(leaf.text))
    return fits(value, leaf, substring=field in TEXT_FIELDS)


def compare(a, op, b):
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]


def fits(value, leaf: Leaf, *, substring: bool):  # noqa: PLR0911
    if leaf.op == "null":
        return value in (None, "OpaqueRef:NULL") or value in ([], {})
    if value is None:
        return False
    if leaf.op == "bare":
        return value is True
    if isinstance(value, bool):
        return str(value).lower() == leaf.text
    if isinstance(value, int):
        return str(value) == leaf.text
    if isinstance(value, list):
        return leaf.text in value
    if isinstance(value, dict):
        return leaf.text in value or leaf.text in value.values()
    if substring and leaf.op == "":
        return leaf.text.casefold() in value.casefold()
    return value == leaf.text


# --- the properties ---


def members(record):
    return split(json.dumps(record).encode())


@given(filters(), vms, hosts, hosts)
@settings(max_examples=600)
def test_a_filter_agrees_with_the_naive_evaluator(drawn, vm, host_1, host_2):
    tree, text = drawn
    world = {"OpaqueRef:h1": host_1, "OpaqueRef:h2": host_2}
    parsed = parse_filter(text, [VM, HOST])

    def follow(ref):
        return (HOST, members(world[ref])) if ref in world else None

    for cls, record in ((VM, vm), (HOST, host_1)):
        expected = evaluate(tree, cls, record, world)
        assert parsed.matches(cls, members(record), follow) == expected, text


@given(filters())
@settings(max_examples=300)
def test_the_canonical_text_means_the_same(drawn):
    parsed = parse_filter(drawn[1], [VM, HOST])
    again = parse_filter(parsed.text, [VM, HOST])

    assert again == parsed
    assert again.text == parsed.text
    assert again.fields(VM) == parsed.fields(VM)
    assert again.fields(HOST) == parsed.fields(HOST)
    assert again.follows == parsed.follows


@given(st.data(), trees)
@settings(max_examples=200)
def test_every_spelling_has_the_same_text(data, tree):
    one, two = (write(data.draw, tree) for _ in range(2))

    assert parse_filter(one, [VM, HOST]) == parse_filter(two, [VM, HOST])


@given(filters(), vms)
@settings(max_examples=200)
def test_a_filter_reads_no_other_fields_than_it_says(drawn, vm):
    parsed = parse_filter(drawn[1], [VM, HOST])
    read = {name: value for name, value in vm.items() if name in parsed.fields(VM)}

    def nowhere(_ref):
        return None

    whole, cut = (parsed.matches(VM, members(r), nowhere) for r in (vm, read))
    assert whole == cut


@given(st.text('abc:()|!"/\\.<>= \n', max_size=20) | st.text(max_size=30))
@settings(max_examples=500)
def test_any_text_is_a_filter_or_an_error_with_a_place(text):
    try:
        parsed = parse_filter(text, [VM, HOST])
    except FilterError as error:
        place, message = error.position, error.message
    else:
        assert parse_filter(parsed.text, [VM, HOST]) == parsed
        parsed.matches(VM, {}, lambda _ref: None)
        return
    assert 0 <= place <= len(text)
    assert message
