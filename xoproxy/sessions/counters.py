"""What the hub did so far."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Read by the metrics; they only grow."""

    frames: int = 0
    bytes: int = 0
    parked: int = 0
    resets: int = 0
    snapshots: int = 0
    resumed: int = 0
    compared: int = 0
    moved: int = 0
    given_up: int = 0
    """Deliveries that were too much for memory."""
    groups_created: int = 0
    groups_reused: int = 0
    """Those that lingered when somebody asked for them again."""
    groups_expired: int = 0
    faults: int = 0
    """Unexpected exceptions, each contained to one view."""
