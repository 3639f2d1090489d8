"""What a client does to resume by digests, after docs/protocol.md section 6 and RFC 8785.

Nothing of the product is imported; see replica.py.
"""

import base64
import hashlib
import json
import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

Document = dict[str, dict[str, Any]]


def canonical(value: Any) -> str:
    match value:
        case dict():
            names = sorted(value, key=lambda name: list(_code_units(name)))
            return "{" + ",".join(f"{_text(n)}:{canonical(value[n])}" for n in names) + "}"
        case list():
            return "[" + ",".join(map(canonical, value)) + "]"
        case str():
            return _text(value)
        case float():
            return _double(value)
        case _:
            return json.dumps(value)  # null, booleans, and integers with all digits


def _code_units(text: str) -> memoryview:
    units = text.encode("utf-16-le")
    return memoryview(units).cast("H")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _double(value: float) -> str:
    """ECMA-262, 6.1.6.1.20 Number::toString, step by step; k, n and s are its names."""
    assert math.isfinite(value)
    if value == 0:
        return "0"
    if value < 0:
        return "-" + _double(-value)
    s, n = next(found for k in range(1, 18) if (found := _digits(value, k)) is not None)
    k = len(s)
    if k <= n <= 21:
        return s + "0" * (n - k)
    if 0 < n <= 21:
        return s[:n] + "." + s[n:]
    if -6 < n <= 0:
        return "0." + "0" * -n + s
    exponent = f"e{'+' if n > 0 else '-'}{abs(n - 1)}"
    return s + exponent if k == 1 else s[0] + "." + s[1:] + exponent


def _digits(value: float, k: int) -> tuple[str, int] | None:
    """Find the nearest decimal of k digits that is read as this double: 0.digits times 10**n."""
    exact = Decimal(value)
    unit = Decimal((0, (1,), exact.adjusted() - k + 1))
    rounded = (exact.quantize(unit, way) for way in (ROUND_FLOOR, ROUND_CEILING))
    fitting = [decimal for decimal in rounded if float(decimal) == value]
    if not fitting:
        return None
    nearest = min(fitting, key=lambda decimal: abs(decimal - exact))
    return "".join(map(str, nearest.as_tuple().digits))[:k], nearest.adjusted() + 1


def place(cls: str, key: str) -> int:
    """Return the number that is taken modulo buckets."""
    return int.from_bytes(hashlib.sha256(f"{cls}/{key}".encode()).digest()[:4], "big")


def object_digest(cls: str, key: str, record: Any) -> bytes:
    return hashlib.sha256(canonical([cls, key, record]).encode()).digest()[:8]


def digests(document: Document, buckets: int) -> str:
    """Say what a document holds, as `digests` of the message."""
    held = [bytes(8)] * buckets
    for cls, objects in document.items():
        for key, record in objects.items():
            bucket = place(cls, key) % buckets
            both = zip(held[bucket], object_digest(cls, key, record), strict=True)
            held[bucket] = bytes(a ^ b for a, b in both)
    return base64.b64encode(b"".join(held)).decode()


def remove_buckets(document: Document, buckets: int, differing: list[int]) -> None:
    """Take out of a document what the proxy will send again."""
    for cls, objects in document.items():
        for key in [k for k in objects if place(cls, k) % buckets in differing]:
            del objects[key]
