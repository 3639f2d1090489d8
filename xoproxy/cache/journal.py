"""The bounded window of a pool's latest changes, from which any state inside it can be read back.

Theory of operation. Batches are appended at the head and dropped at the tail, oldest first, by
age and by bytes. `since(seq)` gives the changes after a position, or `Expired` when the window no
longer reaches back: there is never a silent hole. Time is a number that the caller passes in.

All journals together share one `JournalBudget`: when it is exceeded, the journal with the oldest
batch shrinks, whichever pool is busy now.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice

from xoproxy.model import Batch, Change

_CHANGE_OVERHEAD_BYTES = 160
"""A change's struct, its integer, and the headers of its two byte strings."""


class Expired(Exception):  # noqa: N818 - a fact, and the caller's cue to send a snapshot
    """The journal no longer reaches back to the position asked for."""


class JournalBudget:
    """The bound that all journals share.

    Args:
        total_bytes: of all journals together.
        pool_bytes: of one journal.
        age_s: batches older than this go, in seconds.
    """

    def __init__(
        self, total_bytes: int = 512 << 20, pool_bytes: int = 64 << 20, age_s: float = 1800
    ) -> None:
        self.total_bytes = total_bytes
        self.pool_bytes = pool_bytes
        self.age_s = age_s
        self.used_bytes = 0
        self._journals: set[Journal] = set()

    def register(self, journal: "Journal") -> None:
        self._journals.add(journal)

    def release(self, journal: "Journal") -> None:
        """Forget a journal whose pool is gone, and give back its bytes."""
        self._journals.discard(journal)
        journal.clear(journal.head)

    def enforce(self) -> None:
        """Drop the oldest batches, of whichever pool, until the bound holds."""
        while self.used_bytes > self.total_bytes:
            oldest = min(
                (j for j in self._journals if j.batch_count),
                key=lambda j: j.oldest_at_s,
                default=None,
            )
            if oldest is None:
                return
            oldest.drop_oldest()


class Journal:
    """The latest batches of one pool.

    `head` is the seq of the last change ever appended, `tail` the oldest position from which the
    journal can still be replayed: a client that stands at `tail` or later misses nothing.
    """

    def __init__(self, budget: JournalBudget, seq: int = 0) -> None:
        self.head = seq
        self.tail = seq
        self.used_bytes = 0
        self._budget = budget
        self._batches: deque[Batch] = deque()
        self._sizes: deque[int] = deque()
        self._changes: deque[Change] = deque()
        budget.register(self)

    @property
    def batch_count(self) -> int:
        return len(self._batches)

    @property
    def change_count(self) -> int:
        return len(self._changes)

    @property
    def oldest_at_s(self) -> float:
        return self._batches[0].at_s

    def append(self, batch: Batch) -> None:
        """Add a committed batch; old ones may go."""
        size = sum(
            _CHANGE_OVERHEAD_BYTES + len(c.before or b"") + len(c.after or b"")
            for c in batch.changes
        )
        self._batches.append(batch)
        self._sizes.append(size)
        self._changes.extend(batch.changes)
        self.head = batch.to_seq
        self.used_bytes += size
        self._budget.used_bytes += size
        while self._batches and (
            self.used_bytes > self._budget.pool_bytes
            or batch.at_s - self._batches[0].at_s > self._budget.age_s
        ):
            self.drop_oldest()
        self._budget.enforce()

    def drop_oldest(self) -> None:
        batch, size = self._batches.popleft(), self._sizes.popleft()
        for _ in batch.changes:
            self._changes.popleft()
        self.tail = batch.to_seq
        self.used_bytes -= size
        self._budget.used_bytes -= size

    def clear(self, seq: int) -> None:
        """Forget everything: history starts again at `seq` (after the first load of a pool)."""
        self._batches.clear()
        self._sizes.clear()
        self._changes.clear()
        self._budget.used_bytes -= self.used_bytes
        self.used_bytes = 0
        self.head = self.tail = seq

    def reaches(self, seq: int) -> bool:
        """Tell whether a reader at `seq` can go on without a hole."""
        return self.tail <= seq <= self.head

    def bytes_since(self, seq: int) -> int:
        """Estimate what the changes after `seq` weigh, by their share of all."""
        count = self.head - max(seq, self.tail)
        return self.used_bytes * count // len(self._changes) if self._changes else 0

    def since(self, seq: int, until: int | None = None) -> Iterator[Change]:
        """Iterate over the changes numbered seq + 1 to `until` (the head by default).

        Raises:
            Expired: the journal does not reach back to `seq`, or `seq` lies in the future.
        """
        if not self.reaches(seq):
            raise Expired(seq)
        stop = self.head if until is None else until
        # Numbers have no gaps, so a position is an offset; near the head, walk from there: a deque
        # reaches its ends quickly and its middle slowly.
        count = stop - seq
        if count <= 0:
            return iter(())
        if self.head == stop and count < len(self._changes) // 2:
            return reversed(list(islice(reversed(self._changes), count)))
        return islice(self._changes, seq - self.tail, stop - self.tail)
