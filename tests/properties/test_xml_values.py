"""Whatever XAPI holds, over XML-RPC it becomes the bytes that JSON-RPC would bring."""

import math
import xmlrpc.client

from hypothesis import given
from hypothesis import strategies as st

from xoproxy.pool.xml_values import result_json
from xoproxy.simulator.database import Row
from xoproxy.simulator.datamodel import DataModel
from xoproxy.simulator.jsonrpc import JsonCodec
from xoproxy.simulator.wiretypes import (
    BoolType,
    DateType,
    FloatType,
    IntType,
    MapType,
    OptionType,
    SetType,
    WireType,
)
from xoproxy.simulator.xmlrpc import XmlCodec

MODEL = DataModel.load()
CLASSES = sorted(name for name, model in MODEL.classes.items() if model.gen_events)
# what XML has no place for, XAPI drops; the line ends of others than \n are the reader's affair
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])).filter(
    lambda text: not {"\ufffe", "\uffff"} & set(text)
) | st.sampled_from(["", "42", "-1", "\n", "<value>", "&amp;", "]]>", "NaN"])
DATES = st.datetimes().map(lambda moment: f"{moment:%Y%m%dT%H:%M:%SZ}".rjust(17, "0"))
# as XAPI prints them, which turns the very largest into infinity
FLOATS = (
    st.floats(allow_nan=False, allow_infinity=False)
    .map(lambda n: float(f"{n:.16g}"))
    .filter(math.isfinite)
)


def values(kind: WireType) -> st.SearchStrategy:  # noqa: PLR0911 - a case per type
    match kind:
        case BoolType():
            return st.booleans()
        case IntType():
            return st.integers(-(2**63), 2**63 - 1)
        case FloatType():
            return FLOATS
        case DateType():
            return DATES
        case SetType():
            return st.lists(values(kind.item), max_size=3)
        case MapType():
            keys = values(kind.key).map(str)
            return st.dictionaries(keys, values(kind.value), max_size=3)
        case OptionType():
            return values(kind.item)
        case _:
            return TEXTS


@given(st.data())
def test_a_record_has_the_bytes_of_json_rpc(data):
    model = MODEL.classes[data.draw(st.sampled_from(CLASSES))]
    names = data.draw(st.lists(st.sampled_from(sorted(model.fields)), unique=True, max_size=8))
    fields = {name: data.draw(values(model.fields[name].type), label=name) for name in names}
    xml = XmlCodec().record(model, Row("OpaqueRef:1", fields, 1, 1))
    (told,), _ = xmlrpc.client.loads(
        b"<methodResponse><params><param>" + xml + b"</param></params></methodResponse>"
    )

    expected = JsonCodec().record(model, Row("OpaqueRef:1", fields, 1, 1))
    assert result_json(f"{model.name}.get_record", told).encode() == expected
