"""How cost grows: one of clients, objects and changes a second at a time, the others held.

    sweeps -> points (JSON) -> curves (PNG, with matplotlib)

`python -m benchmarks.growth` (make bench-full) measures, prints, writes and draws.
"""
