"""The client side: WebSocket connections, and what drives the hub.

endpoint (one connection) -- transport (bytes, flow) -- frames (RFC 6455)
flusher (takes the hub's steps) -- pulse (pings, stalls, bookmarks)
"""
