"""Bytes and messages that no good client sends: by `make fuzz` for long, in the tests for a moment.

frames (raw WebSocket and HTTP) · messages (well-formed frames, odd content) -- siege (a real proxy)
parsers (the same content, straight into the core)
"""
