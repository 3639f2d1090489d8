"""Who is connected, what each has seen, and what goes out next.

    session (one client's requests) -- hub (all of them) -- group (one shared view) -- frame

No I/O, no clock, no await: an outlet takes bytes, a driver takes the steps of `Hub.flush`, and
`ws/` is both.
"""
