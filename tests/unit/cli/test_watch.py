"""What `watch` asks for, and how it ends."""

import pytest

from xoproxy.cache.query import QueryError, parse_query
from xoproxy.cli import watching
from xoproxy.cli.board import LINKS, NAMES, OBJECTS
from xoproxy.cli.exits import Exit
from xoproxy.client.errors import BadQuery, Disconnected, NotSignedIn, Unreachable


def table(*classes, filter_=None, fields=()):
    return watching._subscriptions(classes, filter_, fields, table=True)


def lines(*classes, filter_=None, fields=()):
    return watching._subscriptions(classes, filter_, fields, table=False)


class TestQueries:
    @pytest.mark.parametrize(
        "classes", [("VM",), ("host", "SR"), ("*",), ("pool_link",), ("VTPM",)]
    )
    @pytest.mark.parametrize("fields", [(), ("uuid",)])
    def test_are_understood(self, classes, fields):
        if fields and classes == ("pool_link",):
            fields = ("state",)
        for query in (table(*classes, fields=fields) | lines(*classes, fields=fields)).values():
            parse_query(query)

    def test_the_table_asks_for_what_it_shows_with_names_and_links(self):
        asked = table("VM")
        assert "power_state" in asked[OBJECTS]["fields"]["VM"]
        assert asked[NAMES] == {"classes": ["host"], "fields": {"host": ["name_label"]}}
        assert asked[LINKS] == {"classes": ["pool_link"], "pools": ["proxy"]}

    def test_lines_ask_for_all_fields_of_one_subscription(self):
        assert lines("VM", filter_="power_state:Running") == {
            OBJECTS: {"classes": ["VM"], "filter": "power_state:Running"}
        }

    def test_the_table_leaves_out_templates_unless_there_is_a_filter(self):
        assert "!is_a_template" in table("VM")[OBJECTS]["filter"]
        assert table("VM", filter_="")[OBJECTS]["filter"] == ""
        assert "filter" not in table("host")[OBJECTS]

    def test_classes_of_the_proxy_come_from_the_proxy(self):
        assert table("pool_link")[OBJECTS]["pools"] == ["proxy"]
        assert NAMES not in table("pool_link")

    def test_fields_go_to_the_classes_that_have_them(self):
        asked = lines("VM", "host", fields=["power_state", "address", "uuid"])[OBJECTS]
        assert asked["fields"] == {"VM": ["power_state", "uuid"], "host": ["address", "uuid"]}

    def test_a_misspelt_field_is_left_to_the_proxy_to_explain(self):
        with pytest.raises(QueryError) as caught:
            parse_query(table("VM", fields=["name_lable"])[OBJECTS])
        assert "name_label" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadQuery("BAD_QUERY", "x"), Exit.USAGE),
        (Unreachable("x"), Exit.UNREACHABLE),
        (NotSignedIn("x"), Exit.UNAUTHORISED),
        (Disconnected("x"), Exit.FAILURE),
    ],
)
def test_exit_codes(error, code):
    assert watching.exit_code(error) is code
