"""The chain of the audit log: what it says, and that no change of it goes unseen."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xoproxy.auth import Identity
from xoproxy.auth.audit import (
    BEGINNING,
    Action,
    Ends,
    Fault,
    Place,
    check,
    is_sealed,
    records,
    seal,
)

KEY = b"k" * 32
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
BOB = Identity("a1", "bob", "", "token:t1")


def made(count=5, after=BEGINNING):
    return records(KEY, after, [(Action(f"op{n}").by(BOB), NOW) for n in range(count)])


def content(action, at=NOW):
    return json.loads(records(KEY, BEGINNING, [(action, at)])[0].content)


def test_a_record_says_who_did_what_from_where_with_which_result():
    action = Action(
        "addGrant",
        peer="192.0.2.7",
        pool="p1",
        about="grant g1",
        parameters=("role", "password"),
        details={"role": "viewer", "deny": True, "members": {"b", "a"}},
    ).by(BOB)

    assert content(action, NOW.astimezone(timezone(timedelta(hours=5)))) == {
        "number": 1,
        "at": "2026-01-02T03:04:05.678Z",
        "user": "bob",
        "account": "a1",
        "credential": "token:t1",
        "peer": "192.0.2.7",
        "operation": "addGrant",
        "pool": "p1",
        "object": "grant g1",
        "parameters": ["password", "role"],
        "details": {"role": "viewer", "deny": True, "members": ["a", "b"]},
        "result": "done",
    }


def test_what_has_no_value_is_left_out():
    assert content(Action("signIn", "UNAUTHORISED", count=7)) == {
        "number": 1,
        "at": "2026-01-02T03:04:05.678Z",
        "operation": "signIn",
        "result": "UNAUTHORISED",
        "count": 7,
    }


def test_a_record_is_bounded_whatever_is_given():
    names = tuple(f"{n:03}" + "x" * 1_000 for n in range(1_000))
    found = content(Action("o" * 9_999, user="\x1b[2J\n", parameters=names))

    assert len(found["operation"]) == 200
    assert found["user"] == "\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}"
    assert len(json.dumps(found)) < 10_000
    assert found["parameters"][-1] == "..."


def test_a_whole_chain_holds_and_every_part_of_it():
    chain = made()

    assert [record.number for record in chain] == [1, 2, 3, 4, 5]
    assert check(KEY, BEGINNING, chain) is None
    assert check(KEY, chain[1].place, chain[2:]) is None
    assert check(KEY, chain[4].place, made(3, chain[4].place)) is None


def test_taking_out_reordering_and_inserting_are_seen():
    one, two, three, four, _ = chain = made()
    missing = Fault(3, "the record is missing")

    assert check(KEY, BEGINNING, [one, two, four]) == missing
    assert check(KEY, BEGINNING, [one, two, replace(four, number=3)]) is not None
    assert check(KEY, BEGINNING, [one, two, *chain[1:]]) == missing
    assert check(KEY, one.place, [three, two]) is not None
    forged = records(b"x" * 32, two.place, [(Action("nothing to see"), NOW)])
    assert check(KEY, BEGINNING, [one, two, *forged, *chain[3:]]) is not None


@given(st.integers(0, 4), st.sampled_from(["content", "hash", "number", "at"]), st.data())
def test_any_change_of_a_record_is_seen_at_its_place(index, member, data):
    chain = made()
    record = chain[index]
    changed = {
        "content": lambda: record.content.replace("op", data.draw(st.sampled_from(["Op", "po"]))),
        "hash": lambda: data.draw(st.binary(min_size=32, max_size=32)),
        "number": lambda: data.draw(st.integers(-3, 9)),
        "at": lambda: record.at + timedelta(milliseconds=data.draw(st.integers(1, 10**9))),
    }[member]()
    if changed == getattr(record, member):
        return
    chain[index] = replace(record, **{member: changed})

    fault = check(KEY, BEGINNING, chain)

    assert fault is not None
    assert fault.number == index + 1


@pytest.mark.parametrize("end", Ends)
def test_a_seal_fits_its_end_its_place_and_its_key_only(end):
    place = made()[2].place
    sealed = seal(KEY, end, place)

    assert is_sealed(KEY, end, place, sealed)
    assert not is_sealed(b"x" * 32, end, place, sealed)
    assert not is_sealed(KEY, end, Place(4, place.hash), sealed)
    assert not is_sealed(KEY, end, Place(3, bytes(32)), sealed)
    other = Ends.HEAD if end is Ends.ANCHOR else Ends.ANCHOR
    assert not is_sealed(KEY, other, place, sealed)
    assert sealed != place.hash
