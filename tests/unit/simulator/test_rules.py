"""What is advertised stays what the rules say, whatever goes on in a pool."""

import pytest

from tests.unit.simulator.calls.support import untrue
from xoproxy.simulator.churn import Churn
from xoproxy.simulator.database import Database
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.estate import generate
from xoproxy.simulator.rules import RULES


@pytest.mark.parametrize("seed", [1, 2])
def test_changes_leave_everything_true(seed: int) -> None:
    database = Database(DataModel.load())
    database.load(generate(3, 40, seed))
    churn = Churn(database, seed, lifecycle=True)
    for _ in range(4000):
        churn.step()
    churn.finish()

    assert untrue(database, *RULES) == []
    for sr in database.refs("SR"):
        disks = database.get("SR", sr, "VDIs")
        sizes = sum(database.get("VDI", vdi, "virtual_size") for vdi in disks)
        assert sizes == database.get("SR", sr, "virtual_allocation")
