"""First the log, then the clients: whoever hears of a batch hears what a restart will know."""

from tests.unit.storage.history.pools import KEY, upsert
from xoproxy.app.events import OwnObjects, PoolEvents
from xoproxy.app.ownership import Ownership
from xoproxy.auth import Directory
from xoproxy.cache.journal import JournalBudget
from xoproxy.cache.store import Store
from xoproxy.model import Batch, PoolId
from xoproxy.storage.history import HistoryOptions, open_histories


class Clients:
    """Stands where the hub stands, and looks at the log whenever it hears of a batch."""

    def __init__(self, directory):
        self._directory = directory
        self.heard: list[tuple[int, int]] = []

    def log_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._directory.glob("p1/log-*"))

    def add_pool(self, store: Store) -> None: ...

    def loaded(self, pool: PoolId) -> None: ...

    def committed(self, batch: Batch) -> None:
        self.heard.append((batch.to_seq, self.log_bytes()))


async def test_a_batch_is_on_file_before_any_client_hears_of_it(tmp_path):
    async with open_histories(tmp_path, KEY, HistoryOptions()) as histories:
        await histories.restore([], JournalBudget())
        clients = Clients(tmp_path)
        own = OwnObjects(clients, JournalBudget())  # type: ignore[arg-type]
        events = PoolEvents(clients, own, histories, Ownership(Directory(), {}))  # type: ignore[arg-type]
        store = Store(PoolId("p1"), "epoch")
        for number in range(4):
            clients.heard.clear()
            before = clients.log_bytes()
            prepared = store.prepare([upsert("a", n=number)])
            while prepared.step():
                pass
            batch = store.commit(prepared, 0.0)
            if number == 0:
                events.loaded(store)
                continue
            events.committed(batch)
            ((seq, heard_at),) = clients.heard
            assert seq == store.seq
            assert before < heard_at == clients.log_bytes()
