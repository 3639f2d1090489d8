"""What a client that comes back still holds, as far as its tokens prove it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from xoproxy.model import Cursor, PoolId
from xoproxy.sessions.group import Group
from xoproxy.sessions.messages import ResumePoint
from xoproxy.sessions.tokens import TokenSigner, ViewHash


@dataclass(frozen=True, slots=True)
class ResumePositions:
    """Where a client's documents stand, and which of them it offers to compare.

    Args:
        positions: by pool and what they show.
        comparable: epoch, pool and query of documents whose digests the client would send.
    """

    positions: Mapping[tuple[PoolId, ViewHash], Cursor]
    comparable: frozenset[tuple[str, PoolId, bytes]]

    def position(self, pool: PoolId, view: ViewHash) -> Cursor | None:
        return self.positions.get((pool, view))

    def may_compare(self, epoch: str, pool: PoolId, view: ViewHash) -> bool:
        """Tell whether the client offered to compare what it holds of the same query.

        The rights may have been others: what it gets is judged by those of now alone.
        """
        return (epoch, pool, view.query) in self.comparable


NO_DOCUMENTS = ResumePositions(MappingProxyType({}), frozenset())


def read_resume_points(signer: TokenSigner, points: Iterable[ResumePoint]) -> ResumePositions:
    """Read a client's resume tokens, each once; those that we did not make are left out."""
    positions = {}
    comparable = set()
    for point in points:
        verified = signer.verify(point.token)
        if verified is not None:
            cursor, pool, view = verified
            positions[pool, view] = Cursor(cursor.epoch, max(cursor.seq, point.seq))
            if point.compare:
                comparable.add((cursor.epoch, pool, view.query))
    return ResumePositions(positions, frozenset(comparable))


def resume_at(group: Group, resume: ResumePositions) -> int | None:
    """Find where in a group a client may go on; None when it must have a snapshot."""
    cursor = resume.position(group.store.pool, group.view_hash)
    if cursor is None or cursor.epoch != group.store.epoch:
        return None
    if not group.store.journal.reaches(cursor.seq):
        return None
    if cursor.seq <= group.position:
        return cursor.seq
    if cursor.seq == group.scanned:  # where this view looks as it does at its position
        return group.position
    # Another group was there before this one, or stopped where this one did not: what it saw there
    # may have come and gone since. This one shall move at least as far, so that the client is not
    # ahead of everybody else.
    group.must_reach = max(group.must_reach, cursor.seq)
    return cursor.seq
