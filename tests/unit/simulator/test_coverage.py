"""Which calls are there: what is missing may only become less."""

import subprocess
import sys
from pathlib import Path

from tests.unit.simulator.worlds import client
from xoproxy.simulator.coverage import coverage
from xoproxy.simulator.datamodel import DataModel

ROOT = Path(__file__).resolve().parents[3]
MISSING_AT_MOST = 193


def test_what_is_missing_becomes_less():
    missing = {f"{c.cls}.{name}" for c in coverage(DataModel.load()) for name in c.missing}

    assert len(missing) <= MISSING_AT_MOST, sorted(missing)


def test_every_public_call_is_on_one_side():
    model = DataModel.load()
    for one in coverage(model):
        public = {m.name for m in model.classes[one.cls].messages.values() if not m.removed}
        assert set(one.implemented) <= public
        assert set(one.missing) <= public
        assert not set(one.implemented) & set(one.missing)


async def test_what_is_missing_says_so():
    one = next(c for c in coverage(DataModel.load()) if c.missing)
    name = f"{one.cls}.{one.missing[0]}"
    message = DataModel.load().classes[one.cls].messages[one.missing[0]]
    async with client() as user:
        params = [param.type.zero for param in message.params]
        assert await user.error(name, *params) == ["NOT_IMPLEMENTED", name]


def test_the_table_for_the_documentation():
    tool = ROOT / "tools" / "simulator_coverage.py"
    table = subprocess.run([sys.executable, str(tool)], check=True, capture_output=True, text=True)  # noqa: S603

    first, *rows = table.stdout.splitlines()
    assert first.endswith("public calls.")
    assert any(row.startswith("| VM | ") for row in rows)
