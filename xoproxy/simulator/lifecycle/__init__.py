"""What XAPI's operations write, write by write, in the order in which real pools do it.

An operation is a generator: each step makes the next few writes and yields how many of them took
effect. Who drives it decides when, so that operations run beside each other as they do on a pool.
Between two steps references lead somewhere and a living VM has a host. An operation whose objects
went away raises `RowMissingError`; `Power.settle` then puts right what it left.
"""

from xoproxy.simulator.lifecycle.copies import Copies
from xoproxy.simulator.lifecycle.power import Power
from xoproxy.simulator.lifecycle.writes import NULL, Job, Record, Steps, Writes

__all__ = ["NULL", "Copies", "Job", "Power", "Record", "Steps", "Writes"]
