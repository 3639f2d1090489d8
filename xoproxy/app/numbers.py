"""What everybody counts, gathered at a scrape."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from xoproxy.app.events import PoolEvents
from xoproxy.app.memory import MemoryGuard
from xoproxy.auth import Accounts
from xoproxy.errors import RequestRefused
from xoproxy.model import PoolId
from xoproxy.pool.supervisor import Supervisor
from xoproxy.sessions.hub import Hub
from xoproxy.telemetry import Sample
from xoproxy.ws.endpoint import Endpoint


class Caller:
    """Runs calls on pools and counts how they end."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.outcomes: Counter[tuple[str, str]] = Counter()

    async def call(
        self,
        pool: PoolId,
        method: str,
        params: Mapping[str, Any],
        permitted: Callable[[], None] = lambda: None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Run a call; see `pool.calls.Calls.call`."""
        outcome = "failed"
        try:
            result = await self._supervisor.call(pool, method, params, permitted=permitted)
            outcome = "ok"
        except RequestRefused as refused:
            outcome = refused.code.lower()
            raise
        finally:
            self.outcomes[pool, outcome] += 1
        return msgspec.json.decode(result)  # the client may speak MessagePack


class Numbers:
    """Gathers what everybody counts, at a scrape."""

    def __init__(
        self,
        hub: Hub,
        endpoint: Endpoint,
        supervisor: Supervisor,
        events: PoolEvents,
        accounts: Accounts,
        caller: Caller,
        memory: MemoryGuard,
    ) -> None:
        self._memory = memory
        self._caller = caller
        self._hub = hub
        self._endpoint = endpoint
        self._supervisor = supervisor
        self._events = events
        self._accounts = accounts

    def samples(self) -> Iterable[Sample]:
        yield from self._of_pools()
        hub, connections = self._hub, self._endpoint.connections
        yield Sample("xoproxy_clients", sum(c.session is not None for c in connections))
        yield Sample("xoproxy_clients_parked", sum(c.client.paused for c in connections))
        yield Sample("xoproxy_clients_turned_away_total", self._endpoint.turned_away_count)
        yield Sample("xoproxy_memory_bytes", self._memory.used_bytes)
        yield Sample("xoproxy_memory_limit_bytes", self._memory.limit_bytes)
        yield Sample("xoproxy_frames_held_bytes", self._endpoint.services.framing.ledger.used_bytes)
        yield Sample("xoproxy_deliveries_given_up_total", hub.counters.given_up)
        yield Sample("xoproxy_groups", len(hub.groups))
        yield Sample("xoproxy_views", sum(len(g.members) for g in hub.groups.values()))
        lists = hub.windows.listings.values()
        yield Sample("xoproxy_windows", len(hub.windows.groups))
        yield Sample("xoproxy_window_lists", len(lists))
        yield Sample("xoproxy_window_list_objects", sum(one.total for one in lists))
        yield Sample("xoproxy_frames_total", hub.counters.frames)
        yield Sample("xoproxy_frame_bytes_total", hub.counters.bytes)
        for outcome, count in (
            ("resumed", hub.counters.resumed),
            ("compared", hub.counters.compared),
            ("snapshot", hub.counters.snapshots),
        ):
            yield Sample("xoproxy_resumes_total", count, (outcome,))
        for what, count in (
            ("created", hub.counters.groups_created),
            ("reused", hub.counters.groups_reused),
            ("expired", hub.counters.groups_expired),
        ):
            yield Sample("xoproxy_group_changes_total", count, (what,))
        yield Sample("xoproxy_moves_total", hub.counters.moved)
        yield Sample("xoproxy_view_faults_total", hub.counters.faults)
        for labels, count in self._accounts.logins.items():
            yield Sample("xoproxy_logins_total", count, labels)

    def _of_pools(self) -> Iterable[Sample]:
        states: dict[str, int] = {}
        for status in self._supervisor.statuses():
            states[status.link.state] = states.get(status.link.state, 0) + 1
            labels = (status.pool,)
            journal = self._supervisor.store(status.pool).journal
            yield Sample("xoproxy_pool_objects", status.objects, labels)
            yield Sample("xoproxy_journal_bytes", journal.used_bytes, labels)
            yield Sample("xoproxy_journal_entries", journal.change_count, labels)
            yield Sample("xoproxy_batches_total", self._events.batches.get(status.pool, 0), labels)
            yield Sample("xoproxy_changes_total", self._events.changes.get(status.pool, 0), labels)
            if status.last_event_at_s is not None:
                age_s = time.time() - status.last_event_at_s
                yield Sample("xoproxy_pool_last_event_age_seconds", age_s, labels)
        for state, count in states.items():
            yield Sample("xoproxy_pools", count, (state,))
        for pool, counts in self._supervisor.counts().items():
            yield Sample("xoproxy_events_total", counts.events, (pool,))
            yield Sample("xoproxy_unchanged_total", counts.unchanged, (pool,))
            yield Sample("xoproxy_relists_total", counts.relists, (pool, "class"))
            yield Sample("xoproxy_relists_total", counts.full_lists, (pool, "pool"))
            yield Sample("xoproxy_mismatches_total", counts.mismatches, (pool,))
            yield Sample("xoproxy_audits_total", counts.audits, (pool,))
            yield Sample("xoproxy_repairs_total", counts.repairs, (pool,))
            silent = counts.silent_tokens
            yield Sample("xoproxy_probes_total", counts.probes - silent, (pool, "answered"))
            yield Sample("xoproxy_probes_total", silent, (pool, "disbelieved"))
        for pool, transitions in self._supervisor.transitions().items():
            for (phase, cause), count in transitions.items():
                yield Sample("xoproxy_link_transitions_total", count, (pool, phase, cause))
        for outcome, count in self._caller.outcomes.items():
            yield Sample("xoproxy_calls_total", count, outcome)
