"""The one text of a JSON value, so that two who hold the same can tell by a hash (RFC 8785).

Members stand sorted by UTF-16 code units, nothing is blank, texts are escaped as little as
possible, and numbers are written as ECMAScript writes a double. In one thing we go further: what is
written without fraction and exponent is an integer and keeps all its digits, since ours are exact.
"""

import re
from decimal import Decimal
from typing import Any

import msgspec

_MAX_PLAIN_EXPONENT = 21
_MIN_PLAIN_EXPONENT = -6
_beyond_the_bmp = re.compile(rb"[\xf0-\xf4]").search


def canonical(raw: bytes | msgspec.Raw) -> bytes:
    """Write valid JSON in its canonical form, as UTF-8."""
    value = _decode(raw)
    text = _encode_sorted(value)
    if not text.isascii() and _beyond_the_bmp(text):
        # The encoder sorts by code points. That is another order only where a character beyond the
        # BMP (a surrogate pair, from 0xD800) meets one from U+E000 to U+FFFF.
        return _encode(_sorted(value))
    return text


def number(text: str) -> str:
    """Write a JSON number with a fraction or an exponent as ECMAScript writes the double it names.

    ECMA-262, Number::toString. Infinities, which JSON cannot have, are null as everywhere.
    """
    value = float(text)
    if value == 0:
        return "0"
    shortest = repr(value)
    if "e" not in shortest and "n" not in shortest:  # Python and ECMAScript agree there
        return shortest.removesuffix(".0")
    if "n" in shortest:
        return "null"
    sign, digits, exponent = Decimal(shortest).normalize().as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - it is finite
    minus = "-" if sign else ""
    return minus + _written("".join(map(str, digits)), len(digits) + exponent)


def _written(digits: str, point: int) -> str:
    """Write 0.`digits` times ten to the power of `point`: k, s and n of the specification."""
    if len(digits) <= point <= _MAX_PLAIN_EXPONENT:
        return digits + "0" * (point - len(digits))
    if 0 < point <= _MAX_PLAIN_EXPONENT:
        return f"{digits[:point]}.{digits[point:]}"
    if _MIN_PLAIN_EXPONENT < point <= 0:
        return "0." + "0" * -point + digits
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


def _float(text: str) -> msgspec.Raw:
    return msgspec.Raw(number(text).encode())


def _sorted(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    match value:
        case dict():
            return {name: _sorted(value[name]) for name in sorted(value, key=_utf16)}
        case list():
            return [_sorted(member) for member in value]
        case _:
            return value


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-be")


_decode = msgspec.json.Decoder(float_hook=_float).decode
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
