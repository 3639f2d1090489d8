"""The proxy survives each fault for a minute of churn and then holds exactly what the pool has.

All scenarios run at once, in two processes; each test tells how its own ended. To play a failure
again: `XOPROXY_SURVIVAL_SEED`, and `-k` with the scenario's name.
"""

import json
import os
import random
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.scenarios import MIX, SCENARIOS
from tests.integration.survival import Outcome
from xoproxy.simulator.faults.kinds import KINDS

SECONDS = 60
PROCESSES = 2
PATIENCE_S = 600
"""Twice what it takes on a machine that does four other things."""
CLOSED_SOCKET = re.compile(
    r"(Exception ignored in:|ResourceWarning: unclosed) "
    r"<socket\.socket fd=\d+, family=2, type=1, proto=6>"
)
"""A socket object whose descriptor is closed already (an open one has an address): uvloop closes it
with a connection that is cut short, and leaves the object to complain."""
UNEXPECTED = re.compile(
    "Traceback|Exception ignored|never retrieved|never awaited|was destroyed|pool_failed|Warning"
)
"""In a log: a fault of ours, even if what runs survived it."""
ROOT = Path(__file__).resolve().parents[2]


def test_every_kind_of_fault_has_a_scenario():
    assert set(KINDS) - {"none"} == SCENARIOS.keys() - {MIX}


@dataclass
class Survival:
    """What came of the chosen scenarios, and what was logged meanwhile."""

    outcomes: dict[str, Outcome]
    log: list[str]


@pytest.fixture(scope="module")
def survival(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Survival:
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
    survived = Survival({}, [])
    try:
        for process, file, log in workers:
            assert process.wait(PATIENCE_S) == 0, log.read_text()[-5000:]
            for line in file.read_text().splitlines():
                outcome = Outcome(**json.loads(line))
                survived.outcomes[outcome.name] = outcome
            survived.log += log.read_text().splitlines()
    finally:
        for process, _, _ in workers:
            process.kill()
            process.wait()
    return survived


@pytest.fixture(scope="module")
def outcomes(survival: Survival) -> dict[str, Outcome]:
    return survival.outcomes


def told(outcome: Outcome) -> str:
    """Tell a failed scenario's story, of which the end tells most."""
    return "\n".join(
        [
            f"{outcome.name}, seed {outcome.seed}:",
            *(f"  {wrong}" for wrong in outcome.wrong),
            "what happened, by seconds:",
            *(f"  {at:6.2f} {what}" for at, what in outcome.timeline[-30:]),
            f"figures: {outcome.figures}",
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_the_proxy_survives(scenario: str, outcomes: dict[str, Outcome]):
    outcome = outcomes[scenario]
    assert not outcome.wrong, told(outcome)


@pytest.mark.slow
def test_nothing_unexpected_was_logged(survival: Survival):
    lines = [
        "\n".join(survival.log[max(0, at - 3) : at + 12])
        for at, line in enumerate(survival.log)
        if UNEXPECTED.search(line) and not CLOSED_SOCKET.search(line)
    ]
    assert not lines, "\n--\n".join(lines[:5])
