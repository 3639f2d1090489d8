"""Which wire protocols a release speaks."""

from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.jsonrpc import JsonRpc
from xoproxy.simulator.rpc import Rpc
from xoproxy.simulator.xmlrpc import XmlRpc


def protocols(model: DataModel) -> tuple[Rpc, Rpc]:
    """Return what answers on the paths for JSON-RPC, and on all others.

    Before there was JSON-RPC, its path was one of XML-RPC's: a JSON client gets a fault in XML
    (api_server.ml before clearwater), from which it sees that it has to speak XML-RPC.
    """
    xml = XmlRpc(faults=model.json_rpc == 0)
    return JsonRpc(model.json_rpc) if model.json_rpc else xml, xml
