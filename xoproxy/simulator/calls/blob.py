"""Class `blob`: rows for data that clients keep with objects; what is in them is not kept."""

from typing import Final

from xoproxy.simulator.calls.registry import Call, Handler, operation
from xoproxy.simulator.failures import XapiError
from xoproxy.simulator.wiretypes import EPOCH

_OWNERS: Final = ("VM", "host", "pool", "network", "SR")


@operation("blob.create")
def create(call: Call, mime_type: str, public: bool) -> str:  # noqa: FBT001
    record = {
        "mime_type": mime_type or "application/octet-stream",
        "public": public,
        "size": 0,
        "last_updated": EPOCH,
    }
    return call.db.create("blob", record)


@operation("blob.destroy")
def destroy(call: Call, blob: str) -> None:
    call.db.destroy("blob", blob)


def _create_on(cls: str) -> Handler:
    """Make the call that gives an object a blob with a name."""

    def run(call: Call, ref: str, name: str, mime_type: str, public: bool) -> str:  # noqa: FBT001
        blobs = call.db.get(cls, ref, "blobs")
        if name in blobs:
            raise XapiError("MAP_DUPLICATE_KEY", cls, "blobs", ref, name)
        blob = create(call, mime_type, public)
        call.db.write(cls, ref, "blobs", {**blobs, name: blob})
        return blob

    return run


for _cls in _OWNERS:
    operation(f"{_cls}.create_new_blob")(_create_on(_cls))
