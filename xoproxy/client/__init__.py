"""A client of xoproxy for Python programs."""
