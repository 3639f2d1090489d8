"""Generated estates: a believable pool from a few numbers, the same for the same seed.

An estate is `{class: {ref: record}}` in the JSON form of XAPI's values. Only fields that differ
from the data model's defaults are written, and of each relation only the side that is stored: the
database fills in the rest when it loads one. `generate` draws up the VMs, adds the hosts that
they need (`hosts`, `network`, `storage`), and then stands them on these (`templates`, `guests`).
"""

from xoproxy.simulator.estate.draft import Estate
from xoproxy.simulator.estate.generate import generate

__all__ = ["Estate", "generate"]
