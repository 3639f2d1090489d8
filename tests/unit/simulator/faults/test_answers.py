"""Spoiled answers: what remains of them, and what their heads say."""

import json
import random
from xml.etree import ElementTree as ET

import pytest

from xoproxy.simulator.faults import answers
from xoproxy.simulator.faults.answers import Answer, End
from xoproxy.simulator.faults.kinds import InvalidJson, Reset, Truncated

BODY = b'{"jsonrpc":"2.0","result":["id\\":1}"],"id":7}'
XML = (
    b'<?xml version="1.0"?><methodResponse><params><param><value>x</value></param></params>'
    b"</methodResponse>"
)


def whole(body: bytes = BODY) -> Answer:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return Answer(head % len(body), body)


def promised(answer: Answer) -> int:
    return int(answer.head.partition(b"Content-Length: ")[2])


def chance(seed: int = 1) -> random.Random:
    return random.Random(seed)


@pytest.mark.parametrize(("after", "kept"), [(0, 0), (10, 10), (10_000, len(BODY) // 2)])
def test_a_reset_comes_in_the_middle_of_the_body(after: int, kept: int) -> None:
    spoiled = answers.reset(whole(), Reset(after_bytes=after))
    assert spoiled == Answer(whole().head, BODY[:kept], End.RESET)


def test_a_closed_answer_is_shorter_than_its_head_says() -> None:
    spoiled = answers.truncated(whole(), Truncated(how="closed"), chance())
    assert spoiled.end is End.CLOSED
    assert BODY.startswith(spoiled.body)
    assert len(spoiled.body) < promised(spoiled) == len(BODY)


def test_a_cut_answer_is_as_long_as_its_head_says_but_not_whole() -> None:
    spoiled = answers.truncated(whole(), Truncated(how="cut"), chance())
    assert spoiled.end is End.USUAL
    assert BODY.startswith(spoiled.body)
    assert len(spoiled.body) == promised(spoiled) < len(BODY)


def test_an_empty_answer_can_be_truncated() -> None:
    assert answers.truncated(whole(b""), Truncated(how="cut"), chance()).body == b""


@pytest.mark.parametrize("how", ["garbage", "half", "empty"])
@pytest.mark.parametrize("body", [BODY, XML])
def test_an_invalid_answer_has_a_good_head(how: str, body: bytes) -> None:
    spoiled = answers.invalid(whole(body), InvalidJson(how=how), chance())  # type: ignore[arg-type]
    assert promised(spoiled) == len(spoiled.body)
    assert b"200 OK" in spoiled.head
    assert b"application/json" in spoiled.head
    with pytest.raises(json.JSONDecodeError):
        json.loads(spoiled.body.decode("latin-1"))
    with pytest.raises(ET.ParseError):
        ET.fromstring(spoiled.body)  # noqa: S314 - our own bytes
    assert spoiled.end is End.USUAL


def test_a_page_comes_with_the_head_of_an_answer() -> None:
    spoiled = answers.invalid(whole(), InvalidJson(how="html"), chance())
    assert b"200 OK" in spoiled.head
    assert b"application/json" in spoiled.head
    assert spoiled.body.startswith(b"<html>")
    assert promised(spoiled) == len(spoiled.body)


@pytest.mark.parametrize("id_", [7, -1, 'a"b\\'])
def test_a_wrong_id_is_all_that_is_wrong(id_: object) -> None:
    right = {"jsonrpc": "2.0", "result": 'x","id":1}', "id": id_}
    body = json.dumps(right, separators=(",", ":")).encode()
    spoiled = answers.invalid(whole(body), InvalidJson(how="wrong_id"), chance())
    wrong = json.loads(spoiled.body)
    assert wrong["id"] != id_
    assert {**wrong, "id": id_} == right
    assert promised(spoiled) == len(spoiled.body)


def test_xml_has_no_ids_so_the_value_is_missing() -> None:
    spoiled = answers.invalid(whole(XML), InvalidJson(how="wrong_id"), chance())
    assert b"<methodResponse>" in spoiled.body
    assert b"<value>" not in spoiled.body


def test_the_seed_tells_what_is_wrong() -> None:
    def spoiled(seed: int) -> list[bytes]:
        dice = chance(seed)
        kinds = [answers.invalid(whole(), InvalidJson(), dice).body for _ in range(20)]
        return kinds + [answers.truncated(whole(), Truncated(), dice).body for _ in range(20)]

    assert spoiled(3) == spoiled(3) != spoiled(4)
    assert len(set(spoiled(3))) > 5
