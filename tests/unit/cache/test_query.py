import pytest

from xoproxy.cache.fields import Mask
from xoproxy.cache.query import ALL, MAX_CLASSES, MAX_FIELDS, Query, QueryError, parse_query
from xoproxy.cache.schema import SCHEMA
from xoproxy.model import XapiClass

VM, HOST, SR = map(XapiClass, ("VM", "host", "SR"))


def test_the_smallest_query():
    query = parse_query({"classes": ["VM"]})

    assert query == Query((VM,))
    assert query.mask(VM) is None


def test_a_query_with_everything():
    query = parse_query(
        {
            "classes": ["host", "VM", "VM"],
            "pools": ["p2", "p1"],
            "filter": " tags:prod ",
            "fields": {"VM": ["power_state", "name_label"]},
        }
    )

    assert query.classes == (VM, HOST)
    assert query.pools == ("p1", "p2")
    assert query.filter is not None
    assert query.filter.text == 'tags:"prod"'
    assert query.mask(VM) == Mask(frozenset({"name_label", "power_state"}))
    assert query.mask(HOST) is None


def test_null_members_are_as_good_as_none():
    nothing = {"pools": None, "filter": None, "fields": None}

    assert parse_query({"classes": ["VM"], **nothing}) == parse_query({"classes": ["VM"]})


def test_a_blank_filter_is_no_filter():
    assert parse_query({"classes": ["VM"], "filter": "  "}).filter is None


def test_a_class_may_be_asked_for_without_fields():
    assert parse_query({"classes": ["VM"], "fields": {"VM": []}}).mask(VM) == Mask(frozenset())


def test_all_classes():
    query = parse_query({"classes": ["*"], "filter": "enabled", "fields": {"VM": ["uuid"]}})

    assert query.classes == ALL
    assert query.for_classes({HOST, VM}) == (VM, HOST)
    assert query.for_classes([XapiClass("Quantum_link")]) == ("Quantum_link",)


def test_only_the_classes_that_a_pool_has():
    query = parse_query({"classes": ["host", "VM", "SR"]})

    assert query.for_classes({VM, HOST, XapiClass("VDI")}) == (VM, HOST)
    assert query.for_classes(()) == ()


def test_equal_questions_are_equal():
    one = parse_query(
        {"classes": ["VM", "host"], "filter": "a  b", "fields": {"VM": ["uuid", "tags"]}}
    )
    two = parse_query(
        {"classes": ["host", "VM"], "filter": "b a", "fields": {"VM": ["tags", "uuid"]}}
    )

    assert one == two
    assert hash(one) == hash(two)
    assert one.view_key == two.view_key


def test_the_view_key_tells_contents_apart_but_not_pools():
    queries = [
        {"classes": ["VM"]},
        {"classes": ["*"]},
        {"classes": ["VM", "host"]},
        {"classes": ["VM"], "filter": "a"},
        {"classes": ["VM"], "filter": "b"},
        {"classes": ["VM"], "fields": {"VM": []}},
        {"classes": ["VM"], "fields": {"VM": ["uuid"]}},
    ]

    assert len({parse_query(query).view_key for query in queries}) == len(queries)
    with_pools = parse_query({"classes": ["VM"], "pools": ["p1"]})
    assert with_pools.view_key == parse_query({"classes": ["VM"]}).view_key
    assert with_pools != parse_query({"classes": ["VM"]})


def test_the_view_key_stays_the_same_for_ever():
    query = parse_query(
        {"classes": ["host", "VM"], "filter": "!web tags:é", "fields": {"VM": ["uuid", "tags"]}}
    )

    assert query.view_key == (
        '[["VM","host"],"!\\"web\\" tags:\\"é\\"",[["VM",["tags","uuid"]]]]'.encode()
    )


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (None, "query must be a map", None),
        ([], "query must be a map", None),
        ("VM", "query must be a map", None),
        ({}, "classes is missing", '["VM", "host"]'),
        ({"class": ["VM"]}, "a query has no 'class'", "classes"),
        ({"classes": ["VM"], "flter": "x"}, "a query has no 'flter'", "filter"),
        ({"classes": ["VM"], "Pools": []}, "a query has no 'Pools'", "pools"),
        ({"classes": ["VM"], 5: 1}, "a query has no 5", None),
        ({"classes": ["VM"], "rate": "1"}, "rate must be a number", "for example 1"),
        ({"classes": ["VM"], "rate": True}, "rate must be a number", None),
        ({"classes": ["VM"], "rate": 0}, "rate is from 0.01 to 100", None),
        ({"classes": ["VM"], "rate": 101}, "rate is from 0.01 to 100", None),
        ({"classes": ["VM"], "rate": float("nan")}, "rate is from 0.01 to 100", None),
        ({"classes": "VM"}, "classes must be a list of texts", None),
        ({"classes": ["VM", 1]}, "classes must be a list of texts", None),
        ({"classes": []}, "classes is empty", '["*"]'),
        ({"classes": ["VM"] * (MAX_CLASSES + 1)}, "at most 100", None),
        ({"classes": ["vm"]}, "there is no class 'vm'", "VM"),
        ({"classes": ["VMs"]}, "there is no class 'VMs'", "did you mean"),
        ({"classes": ["secret"]}, "there is no class 'secret'", None),
        ({"classes": ["VM", "*"]}, "stands alone", None),
        ({"classes": ["VM"], "pools": "p1"}, "pools must be a list of texts", None),
        ({"classes": ["VM"], "pools": []}, "pools is empty", "leave it out"),
        ({"classes": ["VM"], "pools": ["p"] * 1001}, "pools: at most", None),
        ({"classes": ["VM"], "filter": 5}, "filter must be text", None),
        ({"classes": ["VM"], "fields": ["uuid"]}, "fields must be a map", None),
        ({"classes": ["VM"], "fields": {"VM": "uuid"}}, "fields of VM must be a list", None),
        ({"classes": ["VM"], "fields": {"host": ["uuid"]}}, "host is not asked for", None),
        ({"classes": ["VM"], "fields": {"vm": ["uuid"]}}, "there is no class 'vm'", "VM"),
        ({"classes": ["VM"], "fields": {5: ["uuid"]}}, "there is no class 5", None),
        ({"classes": ["VM"], "fields": {"*": ["uuid"]}}, "stands alone", None),
        ({"classes": ["VM"], "fields": {"VM": ["name"]}}, "VM has no field 'name'", None),
        ({"classes": ["VM"], "fields": {"VM": ["namelabel"]}}, "no field", "name_label"),
        ({"classes": ["VM"], "fields": {"VM": ["$ref"]}}, "$ref always comes", "leave it out"),
        ({"classes": ["VM"], "fields": {"VM": ["uuid"] * 1001}}, "at most 1000", None),
    ],
)
def test_a_wrong_query_is_refused(value, message, hint):
    with pytest.raises(QueryError) as raised:
        parse_query(value)

    assert message in raised.value.message
    if hint is not None:
        assert hint in (raised.value.hint or "")


def test_fields_are_bounded_over_all_classes():
    fields = {cls: sorted(SCHEMA.fields(cls)) for cls in SCHEMA.classes}
    assert sum(map(len, fields.values())) <= MAX_FIELDS  # so that the real ones all fit

    parse_query({"classes": ["*"], "fields": fields})


def test_a_wrong_filter_keeps_its_place_and_hint():
    with pytest.raises(QueryError) as raised:
        parse_query({"classes": ["VM"], "filter": "web powerstate:Running"})

    assert raised.value.message == "VM has no field 'powerstate'"
    assert raised.value.data == {
        "at": "/filter",
        "position": 4,
        "hint": "did you mean power_state?",
    }


@pytest.mark.parametrize(
    ("query", "data"),
    [
        (
            {"classes": ["VM", "hsot"]},
            {"at": "/classes/1", "position": None, "hint": "did you mean host?"},
        ),
        (
            {"fields": {"VM": ["uuid", "other_confg.folder"]}},
            {"at": "/fields/VM/1", "position": 0, "hint": "did you mean other_config?"},
        ),
        (
            {"fields": {"VM": ["name_label.x"]}},
            {"at": "/fields/VM/0", "position": 11, "hint": "write name_label"},
        ),
        ({"fields": {"host": []}}, {"at": "/fields/host", "position": None, "hint": None}),
        ({"rate": 0}, {"at": "/rate", "position": None, "hint": None}),
    ],
)
def test_an_error_says_where_it_is(query, data):
    with pytest.raises(QueryError) as raised:
        parse_query({"classes": ["VM"], **query})

    assert raised.value.data == data


def test_what_a_client_wrote_is_not_repeated_at_length():
    for query in (
        {"classes": ["x" * 100_000]},
        {"classes": ["VM"], "x" * 100_000: 1},
        {"classes": ["VM"], "fields": {"VM": ["x" * 4_000]}},
        {"classes": ["VM"], "fields": {"VM": ["x" * 100_000]}},
        {"classes": ["VM"], "fields": {"x" * 100_000: []}},
        {"classes": ["VM"], "filter": "x" * 4_000 + ":1"},
    ):
        with pytest.raises(QueryError) as raised:
            parse_query(query)
        assert len(raised.value.message) < 200
        assert len(raised.value.at or "") < 200


def test_keys_of_maps_are_part_of_the_view():
    one = parse_query(
        {"classes": ["VM"], "fields": {"VM": ["uuid", 'other_config."xo:id"', "other_config.a"]}}
    )
    two = parse_query(
        {"classes": ["VM"], "fields": {"VM": ['other_config."a"', 'other_config."xo:id"', "uuid"]}}
    )
    other = parse_query({"classes": ["VM"], "fields": {"VM": ["uuid", "other_config.a"]}})

    assert one == two
    assert one.view_key == two.view_key
    assert (
        one.view_key
        == b'[["VM"],null,[["VM",["other_config.\\"xo:id\\"","other_config.a","uuid"]]]]'
    )
    assert other != one
    assert other.view_key != one.view_key


def test_how_sets_are_told_is_no_part_of_what_is_shown():
    whole, members, usual = (
        parse_query({"classes": ["VM"], **q}) for q in ({"sets": "whole"}, {"sets": "members"}, {})
    )
    assert (whole.sets_by_member, members.sets_by_member) == (False, True)
    assert whole == usual
    assert whole.view_key == members.view_key


@pytest.mark.parametrize("value", ["member", True, 1, ["members"], {}])
def test_sets_are_told_in_one_of_two_ways(value):
    with pytest.raises(QueryError) as caught:
        parse_query({"classes": ["VM"], "sets": value})
    assert (caught.value.at, caught.value.message) == ("/sets", 'sets must be "whole" or "members"')


def test_the_rate_is_no_part_of_the_view():
    slow, quick = (parse_query({"classes": ["VM"], "rate": rate}) for rate in (1, 2.5))

    assert (slow.rate, quick.rate) == (1.0, 2.5)
    assert parse_query({"classes": ["VM"], "rate": 0.7071}).rate == 0.71
    assert parse_query({"classes": ["VM"], "rate": 0.01}).rate == 0.01
    assert slow.view_key == quick.view_key == parse_query({"classes": ["VM"]}).view_key
