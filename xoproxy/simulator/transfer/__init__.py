"""VMs that move to another pool, or to other storage (xapi_vm_migrate.ml).

The source makes a `Parcel` of a VM's rows and puts it to the addresses that `host.migrate_receive`
gave, over HTTP, as XAPI does with other contents. The destination checks it, makes room for the
disks, and lets the VM arrive with rows of its own.

    parcel.py    what goes over the wire
    remote.py    the sender's side of the wire
    handlers.py  the receiver's side: PUT /services/SM and /services/xenops
    incoming.py  what the receiver checks and writes
"""

from xoproxy.simulator.transfer.handlers import TransferHandlers
from xoproxy.simulator.transfer.parcel import Parcel, pack
from xoproxy.simulator.transfer.remote import Remote

__all__ = ["Parcel", "Remote", "TransferHandlers", "pack"]
