"""The scene (scene.py) with live windows in it.

A window's position says nothing of the pools' positions. So what a client holds is compared with
the answers for all pairs of states in which the pools may have been: later than, or as, those that
it has seen; and for all windows that it has asked for since the last quiet moment. When all was
flushed, it is the present of the last window, and nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.properties import world
from tests.properties.replica import Document, Fault, canonical
from tests.properties.scene import POOLS, Absent, Peer, Scene
from tests.properties.window_world import Shown, Span, WindowQuestion
from xoproxy.cache.view import Visibility


@dataclass
class Glance:
    """What we know of a window that somebody looks through."""

    question: WindowQuestion
    pools: tuple[str, ...]
    is_fixed: bool
    """Whether these pools were asked for by name."""
    spans: list[Span]
    """The one that is shown, and those asked for since."""
    seen: dict[str, int] = field(default_factory=dict)
    """Pool -> the earliest state in which it can be what was shown last."""
    asked_at: tuple[int, int] | None = None
    """How many resets there were when the window was to be moved last, and its position."""


class WindowScene(Scene):
    """All of it, and windows."""

    def __init__(self, **sizes: int) -> None:
        self.timelines: dict[str, list[world.Pool]] = {pool: [] for pool in POOLS}
        self.glances: dict[tuple[int, int], Glance] = {}
        """By peer and subscription."""
        self._scopes: dict[int, dict[str, Visibility]] = {}
        """By the number of a window: the rights on each of its pools."""
        self._answers: dict[Any, Shown] = {}
        super().__init__(**sizes)

    # --- what happens ---

    def _add_pool(self, name: str) -> None:
        super()._add_pool(name)
        self.timelines[name].append({})

    def commit(self, name: str, batch: Any, relisted: Sequence[str] = ()) -> None:
        super().commit(name, batch, relisted)
        if self.pools[name].is_there:
            self.timelines[name].append(self.pools[name].model.now)

    def toggle_a_pool(self) -> None:
        self.timelines["q"].append({})
        super().toggle_a_pool()

    def connect(self, **options: Any) -> Peer:
        """Somebody comes; pools come and go, so any patch of a window may lead to another one."""
        peer = super().connect(**options)
        of_pools = peer.replica.may_move
        peer.replica.may_move = lambda document: document.pool is None or of_pools(document)
        return peer

    def _judge(self, peer: Peer) -> None:
        """What was asked for by name does not come back when it may be seen again."""
        super()._judge(peer)
        for (number, _), glance in self.glances.items():
            if number == peer.number and glance.is_fixed:
                glance.pools = tuple(p for p in glance.pools if peer.rights(p) is not None)

    def look(self, peer: Peer, question: WindowQuestion, span: Span, pools: Any = None) -> None:
        """Ask for a window."""
        self._request_count += 1
        id_ = self._request_count
        self.glances[peer.number, id_] = Glance(
            question, tuple(pools or POOLS), bool(pools), [span]
        )
        peer.asked[id_] = question
        peer.asked_ever[id_] = question, self.now_s
        peer.replica.will_subscribe(id_, question, [])
        peer.request(type="subscribe", id=id_, query=question.query(span, pools), resume=[])
        self._drop_if_refused(peer, id_, pools)
        self.check()

    def move(self, peer: Peer, id_: int, span: Span) -> None:
        """Move a window."""
        glance = self.glances[peer.number, id_]
        glance.spans.append(span)
        document = self._document(peer, id_)
        glance.asked_at = None if document is None else (len(document.resets), document.position)
        peer.request(type="window", id=id_, window=list(span))
        self.check()

    def windows_of(self, peer: Peer) -> list[int]:
        return [id_ for id_, question in peer.asked.items() if isinstance(question, WindowQuestion)]

    def drop(self, peer: Peer, share: float | None) -> list[Absent]:
        absent = super().drop(peer, share)
        return [one for one in absent if not isinstance(one.question, WindowQuestion)]

    def end(self) -> None:
        super().end()
        windows = self.hub.windows
        assert not windows.groups
        assert not windows.listings
        assert not windows._by_look
        assert not windows.work._by_listing
        assert not windows.work.has_work

    # --- what must be true ---

    def check(self) -> None:
        for shown in self.hub.windows.groups:
            pools = shown.listing.scope.pools
            self._scopes[shown.number] = {store.pool: rights for store, rights in pools}
        super().check()

    def _document(self, peer: Peer, id_: int) -> Document | None:
        documents = peer.replica.documents.values()
        return next((d for d in documents if id_ in d.subscriptions), None)

    def _check_document(self, peer: Peer, document: Document) -> None:
        if document.pool is not None:
            super()._check_document(peer, document)
            return
        (id_,) = document.subscriptions
        glance = self.glances[peer.number, id_]
        held = _held(document)
        rights = self._scopes[document.view]
        late = {p: len(self.timelines[p]) for p in POOLS if p in rights}
        if not late and held not in self._expected(glance, rights, {}):
            raise Fault(f"{peer} holds {held}, but no pool is there")
        for pool in late:
            fits = (
                states[pool]
                for states in _tuples(glance.seen, late, pool)
                if held in self._expected(glance, rights, states)
            )
            seen = next(fits, None)
            if seen is None:
                states = {p: n - 1 for p, n in late.items()}
                raise Fault(
                    f"{peer} holds at {document.position}\n{held}\nwhich {glance} never was;"
                    f" now it is\n{self._expected(glance, rights, states)}"
                )
            glance.seen[pool] = seen

    def check_the_quiet(self) -> None:
        for peer in self.peers:
            if not peer.client.paused:
                peer.read()
                for document in peer.replica.documents.values():
                    if document.pool is None and document.untold:  # nothing followed it
                        document.untold = False
                        self._check_document(peer, document)
        super().check_the_quiet()

    def _check_position(self, member: Any, document: Document) -> None:
        if document.pool is not None:
            super()._check_position(member, document)
            return
        group = member.group
        if document.position == group.position:
            assert member.is_current
        else:
            assert member in group.ahead

    def _check_present(self, peer: Peer, document: Document) -> None:
        if document.pool is not None:
            super()._check_present(peer, document)
            return
        (id_,) = document.subscriptions
        glance = self.glances[peer.number, id_]
        del glance.spans[:-1]
        if glance.asked_at is not None:
            now = len(document.resets), document.position
            assert now > glance.asked_at, "moving a window was not answered"
        glance.asked_at = None
        held = {p: rights for p in glance.pools if (rights := peer.rights(p)) is not None}
        states = {p: len(self.timelines[p]) - 1 for p in held}
        assert [_held(document)] == self._expected(glance, held, states)

    def _expected(
        self, glance: Glance, rights: dict[str, Visibility], states: dict[str, int]
    ) -> list[str]:
        """Return what each of the windows shows when the pools are in these states."""
        at = tuple((pool, number, rights[pool]) for pool, number in states.items())
        if (glance.question, at) not in self._answers:
            pools = {pool: self.timelines[pool][number] for pool, number in states.items()}
            self._answers[glance.question, at] = glance.question.matching(pools, rights)
        matching = self._answers[glance.question, at]
        return [canonical(glance.question.document(matching, span)) for span in glance.spans]


def _held(document: Document) -> str:
    """Write a window's document as `WindowQuestion.document` says what it must be."""
    content = dict(document.content)
    objects, order = content.pop(document.classes[0]), content.pop("order")
    if sorted(objects) != sorted(order):
        raise Fault(f"the order {order} is not that of {sorted(objects)}")
    content["rows"] = [
        (
            objects[key]["$pool"],
            objects[key]["$ref"],
            {n: v for n, v in objects[key].items() if not n.startswith("$")},
        )
        for key in order
    ]
    return canonical(content)


def _tuples(early: dict[str, int], late: dict[str, int], first: str) -> Iterator[dict[str, int]]:
    """Go through all pairs of states, those of one pool in order."""
    (*others,) = (pool for pool in late if pool != first)
    for number in range(early.get(first, 0), late[first]):
        if not others:
            yield {first: number}
            continue
        (other,) = others
        for another in range(late[other] - 1, early.get(other, 0) - 1, -1):
            yield {pool: {first: number, other: another}[pool] for pool in late}
