"""Other ways to do what we do, on the same trace in the same run: minimal models, ours beside them.

    trace (XAPI's replies) -> store -> batches -> a contender -> load.c

`trace` records a simulated pool's replies once. `server` plays them in its own process, through
the same store, to one of the `contenders`; `comparison` runs all of them in turn and counts what
the clients got. The models are our own code after the ideas of others: what they leave out (rights,
pings, snapshots, slow clients) is in their favour.
"""
