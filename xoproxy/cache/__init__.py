"""What the proxy knows of the pools: entries, history, and what a query sees of them.

    store (entries) -- diff -- journal (history) -- state (at a position) -- view (a query's eyes)

No I/O, no clock, no await: plain values in, plain values out. Callers cut long work into slices by
taking the steps of the iterators that they are given.
"""
