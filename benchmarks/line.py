"""The straight line inside this process: a store, the hub, and clients that only count."""

from collections.abc import Callable

from benchmarks.system import EVERYTHING
from xoproxy.cache.query import parse_query
from xoproxy.cache.store import Store
from xoproxy.cache.view import Everything
from xoproxy.errors import PoolError
from xoproxy.model import Batch, PoolId
from xoproxy.sessions.codec import Codec
from xoproxy.sessions.hub import Hub
from xoproxy.sessions.member import Client
from xoproxy.sessions.tokens import TokenSigner
from xoproxy.ws.frames import SharedFraming

POOL = PoolId("bench")


class Count:
    """A socket that takes everything (fits `sessions.member.Outlet`)."""

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self.last = b""

    def write(self, data: bytes) -> None:
        self.frames += 1
        self.bytes += len(data)
        self.last = data

    def close(self, code: int, reason: str) -> None:
        raise AssertionError(f"closed: {code} {reason}")

    def take(self) -> tuple[int, int]:
        """Return frames and bytes since the last time."""
        taken = self.frames, self.bytes
        self.frames = self.bytes = 0
        return taken


class Line:
    """A pool's store and the hub behind it, flushed at every batch (fits `pool.watch.Observer`).

    Args:
        wake: called when there is something to flush, for those who do not flush by hand.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self.framing = SharedFraming()
        self.store = Store(POOL, "bench")
        self.hub = Hub(self.framing, TokenSigner(b"bench"), wake)
        self.hub.add_pool(self.store)

    def subscribe(self, *, deflate: bool = False, codec: Codec = Codec.JSON) -> Count:
        """Add a client that sees everything, and let it have the snapshot."""
        outlet = Count()
        client = Client(outlet, codec, self.framing, deflate=deflate)
        self.hub.join(client, 1, parse_query(EVERYTHING), POOL, Everything())
        self.flush()
        return outlet

    def flush(self) -> None:
        while self.hub.has_work:
            for _ in self.hub.flush():
                pass

    def loaded(self, store: Store) -> None:
        self.hub.loaded(store.pool)
        self.flush()

    def committed(self, store: Store, batch: Batch) -> None:
        del store
        self.hub.committed(batch)
        self.flush()

    def caught_up(self) -> None: ...

    def lost(self, cause: PoolError) -> None:
        raise AssertionError(f"the session is lost: {cause}")
