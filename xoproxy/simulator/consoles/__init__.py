"""The consoles of VMs: a screen by RFB and a serial line, served by the host where the VM runs.

connection ─ handlers ─ ScreenViewer ─ rfb          Screen ─ pixels ─ font
                      │            └─────────────── (shared by its viewers)
                      └ TerminalViewer ──────────── Terminal
"""

from xoproxy.simulator.consoles.consoles import Consoles
from xoproxy.simulator.consoles.handlers import ConsoleHandlers

__all__ = ["ConsoleHandlers", "Consoles"]
