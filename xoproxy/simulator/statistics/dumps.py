"""Whole archives of one object, in rrdtool's v0003 format (rrd.ml).

All data sources are written as gauges: what is made up is the rate, not a counter behind it.
"""

from collections.abc import Iterator

from xoproxy.simulator.statistics.archives import Archive, archives_of, values_at
from xoproxy.simulator.statistics.dialects import XML_HEAD, Form, Tree
from xoproxy.simulator.statistics.series import STEP_S, Consolidation
from xoproxy.simulator.statistics.sources import Measured

HEARTBEAT_S = 300.0


def dump_parts(measured: Measured, form: Form, now: float) -> Iterator[str]:
    """Write all archives as they are at a time, in parts."""
    slot = int(now) // STEP_S
    newest = values_at(measured, archives_of(measured)[0], slot * STEP_S)
    sources = [
        _source(form, source.name, source.kind.maximum, value)
        for source, value in zip(measured.sources, newest, strict=True)
    ]
    head: dict[str, Tree] = {
        "version": "0003",
        "step": STEP_S,
        # JSON writes this time with the five digits of any other number, as XAPI does
        "lastupdate": float(int(now)) if form.json else int(now),
        "ds": sources,
    }
    members = [form.tree(name, tree) for name, tree in head.items()]
    if form.json:
        rra = form.tree("rra", []).removesuffix("]")
        yield "{" + ",".join([*members, rra])
    else:
        yield f"{XML_HEAD}<rrd>{''.join(members)}"
    for number, archive in enumerate(archives_of(measured)):
        yield from _archive(measured, archive, form, slot, first=number == 0)
    yield "]}" if form.json else "</rrd>"


def _source(form: Form, name: str, maximum: float, value: float) -> Tree:
    return {
        "name": name,
        "type": "GAUGE",
        "minimal_heartbeat": HEARTBEAT_S,
        "min": 0.0,
        "max": maximum,
        "last_ds": value,
        "value": 0.0,
        "unknown_sec": 0.0 if form.json else 0,
    }


def _archive(
    measured: Measured, archive: Archive, form: Form, slot: int, *, first: bool
) -> Iterator[str]:
    head: dict[str, Tree] = {
        "cf": str(archive.how),
        "pdp_per_row": archive.size,
        "params": {"xff": archive.xff},
        "cdp_prep": {"ds": _under_way(measured, archive, slot)},
    }
    members = [form.tree(name, tree) for name, tree in head.items()]
    end = slot // archive.size * archive.step_s
    moments = range(end - (archive.rows - 1) * archive.step_s, end + 1, archive.step_s)
    if form.json:
        database = form.tree("database", []).removesuffix("]")
        yield ("" if first else ",") + "{" + ",".join([*members, database])
        for moment in moments:
            comma = "," if moment > moments.start else ""
            yield comma + form.array(values_at(measured, archive, moment))
        yield "]}"
        return
    yield f"<rra>{''.join(members)}<database>"
    for moment in moments:
        columns = "</v><v>".join(form.numbers(values_at(measured, archive, moment)))
        yield f"<row><v>{columns}</v></row>"
    yield "</database></rra>"


def _under_way(measured: Measured, archive: Archive, slot: int) -> list[Tree]:
    """Tell the state of the row that is not yet full."""
    begin = slot // archive.size * archive.size
    known_from = max(begin, measured.activity.first_slot)
    known = max(0, slot - known_from)
    curve = measured.activity.part(begin, slot, archive.how) if known else []
    weight = known / archive.size if archive.how is Consolidation.AVERAGE else 1.0
    at_first = {Consolidation.MIN: None, Consolidation.MAX: 0.0, Consolidation.AVERAGE: 0.0}
    states: list[Tree] = []
    for source in measured.sources:
        initial = at_first[archive.how]
        value = source.kind.maximum if initial is None else initial
        if known:
            value = weight * (source.low + source.span * curve[source.family])
        states.append(
            {
                "primary_value": 0.0,
                "secondary_value": 0.0,
                "value": value,
                "unknown_datapoints": min(slot, known_from) - begin,
            }
        )
    return states
