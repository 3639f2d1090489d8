"""The commands, one file each; main.py puts them together, exits.py ends them.

serve.py, demo.py, simulate.py   run something in the foreground
pool.py, user.py, group.py, role.py, grant.py, token.py
                                 administer a running proxy over remote.py (HTTP)
watch.py                         shows a running proxy's data over live.py (WebSocket)
access.py                        where the proxy is and who asks, for both
"""
