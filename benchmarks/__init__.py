"""How fast, how small, how steady: each figure that we promise, measured beside its floor.

    __main__ -- figures (what is promised) -- report (table, JSON)
        |  one process per case, so that no case inherits another's heap
    case -- wire_bytes | ingest | loading | fanout | endtoend ...      peers (others, on our trace)
        |        estate (pools as XAPI prints them)  rig (clocks, memory, processes)
    pool (a simulated pool that stamps its batches)   load.c, send.c (the other side, and the floor)
    growth (the same over many sizes, as curves)

Nothing here asserts a time: figures are printed with their goals, and misses are misses.
"""
