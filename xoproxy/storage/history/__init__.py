"""Pools' logs and checkpoints: what a restarted proxy goes on with.

    Histories   -- all pools: restores them at the start, writes checkpoints in the background
    PoolHistory -- one pool: appends each batch before any client hears of it
    restore     -- what a pool's files say, or why they cannot be trusted
    records     -- what is written; sealed -- how: versioned, encrypted, checked

    history/
      lock              held while a proxy runs
      running           boot id of the machine while a proxy runs; gone when it ended cleanly
      <pool>/checkpoint the objects at some seq
      <pool>/log-<n>    batches; as far back as the journal reaches, for they are the journal

What is read back is what was written or nothing: a pool whose files are damaged, of another
version, or perhaps older than what clients were told, begins a new epoch.
"""

from xoproxy.storage.history.histories import Histories, HistoryOptions, open_histories
from xoproxy.storage.history.lock import sole_user

__all__ = ["Histories", "HistoryOptions", "open_histories", "sole_user"]
