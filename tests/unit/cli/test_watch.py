"""What `watch` asks for, and how it waits."""

import socket

import aiohttp
import pytest

from xoproxy.cache.query import QueryError, parse_query
from xoproxy.cli import watching
from xoproxy.cli.access import Access
from xoproxy.cli.board import LINKS, NAMES, OBJECTS
from xoproxy.cli.exits import Exit
from xoproxy.cli.live import (
    Disconnected,
    Follower,
    LiveError,
    NotSignedIn,
    ProxyUnreachable,
    _cause,
)
from xoproxy.cli.replica import Replica
from xoproxy.errors import CloseCode


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


def test_a_refusal_tells_place_and_hint():
    message = {"message": "what is that", "data": {"position": 4, "hint": "write this"}}
    with pytest.raises(watching.QueryRefused) as caught:
        watching._refused(message)
    assert str(caught.value) == "what is that (at character 5): write this"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (watching.QueryRefused("x"), Exit.USAGE),
        (ProxyUnreachable("x"), Exit.UNREACHABLE),
        (NotSignedIn("x"), Exit.UNAUTHORISED),
        (LiveError("x"), Exit.FAILURE),
    ],
)
def test_exit_codes(error, code):
    assert watching.exit_code(error) is code


def follower(spread):
    return Follower(Access("http://h", {}), {}, watching._Lines(), Replica(), spread=lambda: spread)


class TestReconnecting:
    def test_waits_longer_each_time_up_to_half_a_minute(self):
        following = follower(1.0)
        assert [following._delay_s(None) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]

    def test_is_spread(self):
        assert follower(0.0)._delay_s(None) == 0.5

    def test_after_a_restart_of_the_proxy_is_spread_over_five_seconds(self):
        assert follower(0.5)._delay_s(CloseCode.RESTARTING) == 2.5

    @pytest.mark.parametrize("code", [CloseCode.CREDENTIAL_REVOKED, CloseCode.UNAUTHORISED])
    def test_is_no_use_without_credentials(self, code):
        with pytest.raises(NotSignedIn):
            follower(0)._check_worth_retrying(Disconnected("revoked", code))

    def test_is_no_use_after_a_protocol_error(self):
        with pytest.raises(LiveError):
            follower(0)._check_worth_retrying(Disconnected("what", CloseCode.PROTOCOL_ERROR))

    def test_is_no_use_when_the_first_attempt_found_nobody(self):
        with pytest.raises(ProxyUnreachable):
            follower(0)._check_worth_retrying(ProxyUnreachable("nobody"))

    @pytest.mark.parametrize(
        "code", [None, 1006, CloseCode.STALLED, CloseCode.STATE_LOST, CloseCode.TOO_MANY_SESSIONS]
    )
    def test_is_worth_it_otherwise(self, code):
        assert follower(0)._check_worth_retrying(Disconnected("gone", code)) == code


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
        (aiohttp.ClientPayloadError("odd"), "odd"),
    ],
)
def test_causes_are_said_in_a_few_words(error, said):
    assert said in _cause(error).lower()
