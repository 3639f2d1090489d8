"""A XAPI pool to run: one can log in, read, write, wait for events. No hypervisor behind it.

    http -> jsonrpc | xmlrpc -> dispatch -> operations -> database -> events

Stands alone: knows nothing of the rest of the project.
"""
