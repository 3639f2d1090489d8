"""A sorted list that knows the place of each item, and the items at each place.

Theory of operation. Items stand in blocks of a few hundred, sorted within and among each other: an
item's block is found by bisecting the blocks' first items, its place there by bisecting the block.
How many items stand before a block is kept in a Fenwick tree, so that places and items lead to each
other in O(log n), too. A block that grows too long is cut in two; one that is empty goes; only then
is the tree built anew, once in hundreds of changes.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

_BLOCK = 256
"""Items of a block that was just cut; at twice as many it is cut."""


class Comparable(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...  # noqa: ANN401 - its own kind


T = TypeVar("T", bound=Comparable)


class OrderedList(Generic[T]):
    """Items in ascending order; each stands there once."""

    def __init__(self, items: Iterable[T] = ()) -> None:
        ordered = sorted(items)
        self._blocks = [ordered[at : at + _BLOCK] for at in range(0, len(ordered), _BLOCK)]
        self._firsts: list[T] = []
        self._tree: list[int] = []
        self._length = len(ordered)
        self._rebuild()

    def __len__(self) -> int:
        return self._length

    def add(self, item: T) -> int:
        """Put an item, which is not there yet, in its place; return how many stand before it."""
        self._length += 1
        if not self._blocks:
            self._blocks.append([item])
            self._rebuild()
            return 0
        number = max(bisect_right(self._firsts, item) - 1, 0)
        block = self._blocks[number]
        at = bisect_left(block, item)
        block.insert(at, item)
        self._firsts[number] = block[0]
        rank = self._before(number) + at
        if len(block) < 2 * _BLOCK:
            self._count(number, 1)
        else:
            self._blocks.insert(number + 1, block[_BLOCK:])
            del block[_BLOCK:]
            self._rebuild()
        return rank

    def remove(self, item: T) -> int:
        """Take an item away; return how many stand before its place.

        Raises:
            KeyError: it is not there.
        """
        number, at = self._find(item)
        rank = self._before(number) + at
        block = self._blocks[number]
        del block[at]
        self._length -= 1
        if block:
            self._firsts[number] = block[0]
            self._count(number, -1)
        else:
            del self._blocks[number]
            self._rebuild()
        return rank

    def slice(self, start: int, count: int) -> list[T]:
        """Return up to `count` items from a place on."""
        if start >= self._length or count <= 0:
            return []
        number, at = self._locate(start)
        found = self._blocks[number][at : at + count]
        while len(found) < count and number + 1 < len(self._blocks):
            number += 1
            found += self._blocks[number][: count - len(found)]
        return found

    def _find(self, item: T) -> tuple[int, int]:
        """Return the block of an item and its place there."""
        number = bisect_right(self._firsts, item) - 1
        if number >= 0:
            block = self._blocks[number]
            at = bisect_left(block, item)
            if at < len(block) and block[at] == item:
                return number, at
        raise KeyError(item)

    def _locate(self, place: int) -> tuple[int, int]:
        """Return the block in which the item at a place stands, and its place there."""
        tree, number = self._tree, 0
        step = 1 << (len(tree) - 1).bit_length()
        while step:
            after = number + step
            if after < len(tree) and tree[after] <= place:
                number = after
                place -= tree[after]
            step >>= 1
        return number, place

    def _before(self, number: int) -> int:
        """Tell how many items stand before a block."""
        found = 0
        while number:
            found += self._tree[number]
            number -= number & -number
        return found

    def _count(self, number: int, more: int) -> None:
        """Note that a block has one item more, or less."""
        tree, node = self._tree, number + 1
        while node < len(tree):
            tree[node] += more
            node += node & -node

    def _rebuild(self) -> None:
        self._firsts = [block[0] for block in self._blocks]
        tree = self._tree = [0, *map(len, self._blocks)]
        for node in range(1, len(tree)):
            above = node + (node & -node)
            if above < len(tree):
                tree[above] += tree[node]
