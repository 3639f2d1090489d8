"""What XAPI's operations write, write by write, in the order in which real pools do it.

An operation is a generator: each step makes the next few writes, and some take their time
(`Takes`). Who drives it decides when, so that operations run beside each other as on a pool. It
takes a `Job`: the task that it is, and what it holds and has made until it ends. Between two steps
references lead somewhere and a living VM has a host. An operation that cannot go on raises;
`Power.settle` then puts right what it left.
"""

from xoproxy.simulator.lifecycle.copies import Copies
from xoproxy.simulator.lifecycle.ends import Ends
from xoproxy.simulator.lifecycle.guests import Guests
from xoproxy.simulator.lifecycle.installs import Installs
from xoproxy.simulator.lifecycle.power import Power
from xoproxy.simulator.lifecycle.reverts import Reverts
from xoproxy.simulator.lifecycle.writes import NULL, Job, Record, Steps, Takes, Writes

__all__ = [
    "NULL",
    "Copies",
    "Ends",
    "Guests",
    "Installs",
    "Job",
    "Power",
    "Record",
    "Reverts",
    "Steps",
    "Takes",
    "Writes",
]
