"""The XAPI side: one session and one long poll per pool, whatever the number of clients.

    carrier | xmlrpc (HTTP) -- jsonrpc (session) -- replies (made safe) -- watch -- cache/store
    calls (commands, tasks)  |  link (connection state)  |  supervisor (one task per pool)

Data flows up only: a command never writes the cache, its effect comes back as an event.
"""
