"""The composition root: the only place that builds objects and knows every package.

composition.py   what is built, in which order it begins and ends: read this
registry.py      the configured pools: storage and supervisor kept in step
events.py        what pools tell, carried to those who want to know
identities.py    who signs in, as sessions see him
numbers.py       what everybody counts, at a scrape
options.py       settings, as each package wants them
runner.py        the process: its event loop, its signals
"""

from xoproxy.app.composition import Proxy, running
from xoproxy.app.runner import new_event_loop, new_runner, until_signalled

__all__ = ["Proxy", "new_event_loop", "new_runner", "running", "until_signalled"]
