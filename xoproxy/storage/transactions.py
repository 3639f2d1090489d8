"""What is said of a transaction, and bounds, that hold for every database."""

WRITES = "xoproxy_writes"
"""Execution option of a connection whose next transaction will write."""

MIGRATES = "xoproxy_migrates"
"""Execution option of a connection whose next transaction will change tables."""

CONNECTIONS = 4
"""At most, of one process."""

TIMEOUT_S = 10.0
"""For a connection, and for a transaction unless another time is given."""
