"""Answers that faults have spoiled: pure functions on bytes."""

import random
import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, assert_never, get_args

from xoproxy.simulator.faults.kinds import InvalidJson, Nonsense, Reset, Truncated, Truncation
from xoproxy.simulator.http.wire import PageError, page

GARBAGE_BYTES: Final = 200
TRUNCATIONS: Final[tuple[Truncation, ...]] = get_args(Truncation)
NONSENSE: Final[tuple[Nonsense, ...]] = get_args(Nonsense)

_LENGTH = re.compile(rb"(?<=\r\nContent-Length: )\d+")
_ID = re.compile(rb'(?<="id":)(?:-?\d+|"(?:[^"\\]|\\.)*")(?=\}$)')
_XML = b"<?xml"
_XML_WITHOUT_VALUE = b'<?xml version="1.0"?><methodResponse><params></params></methodResponse>'
_OTHER_ID = 777_777_777


class End(Enum):
    """What becomes of the connection after an answer."""

    USUAL = "usual"
    CLOSED = "closed"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes over the wire: head, body, and then."""

    head: bytes
    body: bytes
    end: End = End.USUAL

    def with_body(self, body: bytes) -> "Answer":
        """Return it with another body, whose length the head tells."""
        return replace(self, head=_LENGTH.sub(b"%d" % len(body), self.head), body=body)


def reset(answer: Answer, fault: Reset) -> Answer:
    size = len(answer.body)
    kept = fault.after_bytes if fault.after_bytes < size else size // 2
    return replace(answer, body=answer.body[:kept], end=End.RESET)


def truncated(answer: Answer, fault: Truncated, chance: random.Random) -> Answer:
    kept = answer.body[: chance.randrange(len(answer.body))] if answer.body else b""
    how = chance.choice(TRUNCATIONS) if fault.how is None else fault.how
    match how:
        case "closed":
            return replace(answer, body=kept, end=End.CLOSED)
        case "cut":
            return answer.with_body(kept)
        case _:
            assert_never(how)


def invalid(answer: Answer, fault: InvalidJson, chance: random.Random) -> Answer:
    how = chance.choice(NONSENSE) if fault.how is None else fault.how
    match how:
        case "garbage":
            return answer.with_body(chance.randbytes(GARBAGE_BYTES))
        case "half":
            return answer.with_body(answer.body[len(answer.body) // 2 :])
        case "html":
            return answer.with_body(page(PageError(500), "1.1")[1])
        case "wrong_id" if answer.body.startswith(_XML):
            return answer.with_body(_XML_WITHOUT_VALUE)
        case "wrong_id":
            return answer.with_body(_ID.sub(b"%d" % _OTHER_ID, answer.body))
        case "empty":
            return answer.with_body(b"")
        case _:
            assert_never(how)
