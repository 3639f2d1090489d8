"""Odd content straight into the core: what parses must be usable, what does not must say so.

Any other exception than those that the parsers promise comes out as it is.
"""

import random
import time
from collections.abc import Callable

from tests.fuzz.messages import FILTERS, anything, odd_payload, query
from tests.unit.sessions.wire import HOST, SECRET, VM, Desk, Talker, loaded, upsert
from xoproxy.cache.diff import split
from xoproxy.cache.fields import field_path
from xoproxy.cache.filter import FilterError, parse_filter
from xoproxy.cache.query import QueryError, parse_query
from xoproxy.cache.regex import Regex, RegexError
from xoproxy.errors import ProtocolError
from xoproxy.model import Cursor, PoolId
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.tokens import TokenSigner, view_hash

_RECORD = split(
    b'{"name_label":"web-1","power_state":"Running","tags":["prod"],"VCPUs_max":4,"uuid":"u",'
    b'"other_config":{"xo:id":"1"},"resident_on":"OpaqueRef:h","snapshot_time":"20240131T12:00:00Z"}'
)
_SIGNER = TokenSigner(SECRET)
_TOKEN = _SIGNER.sign(Cursor("epoch", 5), PoolId("p"), view_hash(b"a query", "rights", ("VM",)))
_LETTERS = 'abc_.:"()|!/\\<>=*+?{}[]^$0129é\n\t '


def _placed(position: int | None, text: str) -> str:
    assert position is not None, text
    assert 0 <= position <= len(text), text
    return text


class Parsers:
    """Feeds the parsers, one input after another.

    Args:
        rng: decides everything.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._desk: Desk = loaded()
        self._talkers: list[Talker] = []
        self._targets: list[Callable[[], object]] = [
            self._filter,
            self._filter,
            self._regex,
            self._query,
            self._path,
            self._token,
            self._frame,
            self._session,
            self._session,
            self._session,
        ]
        self.slowest_s = 0.0
        self.slowest = ""

    def step(self) -> None:
        """Try one input; an exception is a finding."""
        target = self._rng.choice(self._targets)
        began_s = time.thread_time()
        what = target()
        took_s = time.thread_time() - began_s
        if took_s > self.slowest_s:
            self.slowest_s = took_s
            self.slowest = f"{target.__name__}: {str(what)[:300]}"

    def _text(self) -> str:
        rng = self._rng
        if rng.random() < 0.3:
            return "".join(rng.choices(_LETTERS, k=rng.randrange(40)))
        text = list(rng.choice(FILTERS))
        for _ in range(rng.randrange(6)):
            at = rng.randrange(len(text) + 1)
            text[at : at + rng.randrange(3)] = rng.choices(_LETTERS, k=rng.randrange(3))
        return "".join(text)

    def _filter(self) -> str:
        text = self._text()
        try:
            found = parse_filter(text, [VM, HOST])
        except FilterError as error:
            return _placed(error.position, text)
        assert parse_filter(found.text, [VM, HOST]) == found, text
        found.matches(VM, _RECORD, lambda _: (HOST, _RECORD))
        return text

    def _regex(self) -> str:
        pattern = self._text()
        try:
            regex = Regex(pattern, ignore_case=self._rng.random() < 0.5)
        except RegexError as error:
            return _placed(error.position, pattern)
        regex.search(self._rng.choice(["", "web-1", "a" * 2000, pattern]))
        return pattern

    def _query(self) -> object:
        value = query(self._rng) if self._rng.random() < 0.8 else anything(self._rng)
        try:
            found = parse_query(value)
        except QueryError:
            return value
        assert parse_query(value) == found
        assert parse_query(value).view_key == found.view_key
        return value

    def _path(self) -> str:
        text = self._text()
        try:
            path = field_path(text, VM)
        except QueryError as error:
            return _placed(error.position, text)
        assert field_path(str(path), VM) == path
        return text

    def _token(self) -> str:
        rng = self._rng
        token = list(_TOKEN)
        for _ in range(rng.randrange(4)):
            token[rng.randrange(len(token))] = rng.choice([*"AZaz09-_=", "é", "\x00", ""])
        text = "".join(token)[: rng.choice([None, None, 5, 0])]
        verified = _SIGNER.verify(text)
        assert verified is None or verified[0] == Cursor("epoch", 5)
        return text

    def _frame(self) -> object:
        codec = self._rng.choice(list(Codec))
        payload = odd_payload(self._rng, binary=codec.binary)
        data: bytes | str = payload if codec.binary else payload.decode(errors="replace")
        if self._rng.random() < 0.02:
            data = payload if isinstance(data, str) else payload.decode(errors="replace")
        try:
            found = codec.decode(data)
        except ProtocolError:
            return payload
        assert isinstance(found, dict)
        return payload

    def _session(self) -> object:
        """Have somebody say something; whatever it is, he is answered and the rest goes on."""
        rng, desk = self._rng, self._desk
        if len(self._talkers) < 4 or rng.random() < 0.02:
            if len(self._talkers) >= 4:
                self._talkers.pop(0).leaves()
            self._talkers.append(desk.connect(codec=rng.choice(list(Codec))))
        talker = rng.choice(self._talkers)
        codec = talker.client.codec
        payload = odd_payload(rng, binary=codec.binary)
        data: bytes | str = payload if codec.binary else payload.decode(errors="replace")
        try:
            talker.session.receive(codec.decode(data))
        except ProtocolError:
            return payload
        if rng.random() < 0.3:
            desk.commit(upsert("a", name_label=f"n{rng.random()}", power_state="Running"))
        desk.hub.beat(rng.random() * 1e6)
        desk.flush()
        assert talker.line.closed is None, payload
        talker.line.writes.clear()
        return payload
