"""The proxy survives each fault for a minute of churn and then holds exactly what the pool has.

All scenarios run at once, in two processes; each test tells how its own ended. To play a failure
again: `XOPROXY_SURVIVAL_SEED`, and `-k` with the scenario's name.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.scenarios import MIX, SCENARIOS
from tests.integration.survival import Outcome
from xoproxy.simulator.faults.kinds import KINDS

SECONDS = 60
PROCESSES = 2
PATIENCE_S = 240
ROOT = Path(__file__).resolve().parents[2]


def test_every_kind_of_fault_has_a_scenario():
    assert set(KINDS) - {"none"} == SCENARIOS.keys() - {MIX}


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Outcome]:
    """Run the scenarios of all tests that were chosen, at once."""
    chosen = [
        item.callspec.id
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    ]
    seed = int(os.environ.get("XOPROXY_SURVIVAL_SEED") or random.randrange(10**6))
    folder = tmp_path_factory.mktemp("survival")
    workers = []
    for number in range(PROCESSES):
        if names := chosen[number::PROCESSES]:
            file, log = folder / f"outcomes-{number}", folder / f"log-{number}"
            command = [
                *(sys.executable, "-W", "error", "-m", "tests.integration.survival"),
                *(str(file), str(SECONDS), str(seed), *names),
            ]
            with log.open("wb") as output:
                process = subprocess.Popen(  # noqa: S603 - our own program
                    command, cwd=ROOT, stdout=output, stderr=output
                )
            workers.append((process, file, log))
    found = {}
    for process, file, log in workers:
        try:
            code = process.wait(PATIENCE_S)
        finally:
            process.kill()
        assert code == 0, log.read_text()[-5000:]
        for line in file.read_text().splitlines():
            outcome = Outcome(**json.loads(line))
            found[outcome.name] = outcome
    return found


def told(outcome: Outcome) -> str:
    """Tell a failed scenario's whole story."""
    return "\n".join(
        [
            f"{outcome.name}, seed {outcome.seed}:",
            *(f"  {wrong}" for wrong in outcome.wrong),
            "what happened, by seconds:",
            *(f"  {at:6.2f} {what}" for at, what in outcome.timeline),
            f"figures: {outcome.figures}",
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_the_proxy_survives(scenario: str, outcomes: dict[str, Outcome]):
    outcome = outcomes[scenario]
    assert not outcome.wrong, told(outcome)
