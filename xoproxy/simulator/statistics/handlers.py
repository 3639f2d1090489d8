"""The HTTP handlers of statistics; each host answers for itself (rrdd_proxy.ml, rrdd's own).

GET /rrd_updates?start=..[&cf=][&interval=][&host=true][&vm_uuid=][&sr_uuid=][&json]
GET /host_rrd     GET /vm_rrd?uuid=     GET /sr_rrd?uuid=
"""

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from xoproxy.simulator.database import Database
from xoproxy.simulator.hosts import Host, Hosts
from xoproxy.simulator.http import Connection, Handler, Head, PageError, Reply
from xoproxy.simulator.http_auth import HttpAuth
from xoproxy.simulator.statistics import accept
from xoproxy.simulator.statistics.archives import NoArchiveError, export
from xoproxy.simulator.statistics.choice import Statistics
from xoproxy.simulator.statistics.dialects import Form, export_parts, manner_of
from xoproxy.simulator.statistics.dumps import dump_parts
from xoproxy.simulator.statistics.series import Consolidation
from xoproxy.simulator.statistics.sources import Measured, last_run, srs_on, vms_on

UNARCHIVE: Final = "rrd_unarchive"


@dataclass(frozen=True, slots=True)
class StatisticsHandlers:
    """Answers for the statistics of all hosts of a pool."""

    db: Database
    auth: HttpAuth
    hosts: Hosts
    statistics: Statistics

    def of(self, host: Host) -> Mapping[tuple[str, str], Handler]:
        """Return the handlers of one host."""
        answers: dict[str, Callable[[Host, Head], Iterable[str] | Reply]] = {
            "rrd_updates": self._updates,
            "host_rrd": self._host_rrd,
            "vm_rrd": self._vm_rrd,
            "sr_rrd": self._sr_rrd,
        }
        return {
            ("GET", f"/{name}"): functools.partial(self._answer, host, name, answer)
            for name, answer in answers.items()
        }

    async def _answer(
        self,
        host: Host,
        name: str,
        answer: Callable[[Host, Head], Iterable[str] | Reply],
        _connection: Connection,
        head: Head,
    ) -> Reply:
        async with self.auth.admit(head, name):
            answered = answer(host, head)
            if isinstance(answered, Reply):
                return answered
            parts = []
            for part in answered:  # a part takes some ms where there are many VMs
                parts.append(part)
                await asyncio.sleep(0)
            body = "".join(parts).encode()
            return Reply(body, self._form(head).content_type)

    def _form(self, head: Head) -> Form:
        release = self.db.model.release
        manner = manner_of(release.name if release else None)
        json = "json" in head.query
        if manner.negotiates and "accept" in head.headers:
            try:
                best = accept.preferred(head.headers["accept"], ("application/json", "text/xml"))
            except ValueError:
                raise PageError(500) from None
            json = best == "application/json" if best else json
        return Form(manner.dialect, json)

    def _updates(self, host: Host, head: Head) -> Iterable[str]:
        query = head.query
        if "start" not in query:
            raise PageError(400, bare=True)
        known = {how.value: how for how in Consolidation}
        if query.get("cf") == "LAST":  # a consolidation of XAPI's that it keeps no archive of
            raise PageError(500)
        try:
            start = _int64(query["start"])
            objects = [self.statistics.archived(m) for m in self._asked(host, query)]
            interval = _interval(query.get("interval", ""))
            how = known.get(query.get("cf", ""))
            made = export(objects, start, interval, how, self.db.time())
        except (ValueError, NoArchiveError):
            raise PageError(500) from None
        return export_parts(made, self._form(head))

    def _asked(self, host: Host, query: Mapping[str, str]) -> list[Measured]:
        """Measure what an update is about: without `vm_uuid` all VMs, without `sr_uuid` no SR."""
        found = []
        if query.get("host") == "true":
            found.append(self.statistics.measure(self.db, "host", host.ref))
        vms = self._selected("VM", vms_on(self.db, host.ref), query.get("vm_uuid", "all"))
        srs = self._selected("SR", srs_on(self.db, host.ref), query.get("sr_uuid", "none"))
        found += [self.statistics.measure(self.db, "VM", ref) for ref in vms]
        found += [self.statistics.measure(self.db, "SR", ref) for ref in srs]
        return found

    def _selected(self, cls: str, refs: Sequence[str], uuid: str) -> Sequence[str]:
        if uuid in {"all", "none"}:
            return refs if uuid == "all" else ()
        return [ref for ref in refs if self.db.get(cls, ref, "uuid") == uuid]

    def _host_rrd(self, host: Host, head: Head) -> Iterable[str]:
        return self._dump(self.statistics.measure(self.db, "host", host.ref), head)

    def _sr_rrd(self, host: Host, head: Head) -> Iterable[str]:
        if "uuid" not in head.query:
            raise PageError(400, bare=True)
        for ref in self._selected("SR", srs_on(self.db, host.ref), head.query["uuid"]):
            return self._dump(self.statistics.measure(self.db, "SR", ref), head)
        raise PageError(500)

    def _vm_rrd(self, host: Host, head: Head) -> Iterable[str] | Reply:
        """Answer for a VM that runs here; else send to the host where it runs, or ran."""
        uuid = head.query.get("uuid")
        if uuid is None:
            raise PageError(400, bare=True)
        vm = self.db.by_uuid("VM", uuid)
        if vm is not None and vm in vms_on(self.db, host.ref):
            return self._dump(self.statistics.measure(self.db, "VM", vm), head)
        if UNARCHIVE in head.query:
            return self._archived(vm, head)
        if vm is None:
            raise PageError(500)
        owner = self.db.get("VM", vm, "resident_on")
        if self.db.exists("host", owner):
            return self._redirect(self.db.get("host", owner, "address"), head, {})
        return self._redirect(self.hosts.coordinator.address, head, {UNARCHIVE: ""})

    def _archived(self, vm: str | None, head: Head) -> Iterable[str]:
        """Answer with what was archived when a VM ended."""
        ended = last_run(self.db, vm) if vm is not None else None
        if vm is None or ended is None:
            raise PageError(404, bare=True)
        measured = self.statistics.measure(self.db, "VM", vm, ran=True)
        return dump_parts(self.statistics.archived(measured), self._form(head), ended)

    def _redirect(self, address: str, head: Head, extra: Mapping[str, str]) -> Reply:
        query = urlencode({**extra, **head.query}, safe=":")
        location = f"{self.db.site.origin(address)}{head.path}?{query}"
        return Reply(b"", "", 302, {"Location": location})

    def _dump(self, measured: Measured, head: Head) -> Iterable[str]:
        kept = self.statistics.archived(measured)
        return dump_parts(kept, self._form(head), self.db.time())


def _interval(text: str) -> int:
    """Read an interval; what is no number counts as none."""
    try:
        return _int64(text)
    except ValueError:
        return 0


def _int64(text: str) -> int:
    number = int(text)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(text)
    return number
