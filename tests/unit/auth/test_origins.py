"""Which requests come from pages that are not ours."""

import pytest
from multidict import CIMultiDict

from xoproxy.auth import is_foreign_page


@pytest.mark.parametrize(
    ("foreign", "headers"),
    [
        (False, {"Host": "xo:8086"}),  # a program
        (False, {"Host": "xo:8086", "Origin": "http://xo:8086"}),
        (False, {"host": "XO:8086", "origin": "https://xo:8086"}),  # TLS ends before us
        (False, {"Host": "xo:8086", "Sec-Fetch-Site": "same-origin"}),
        (False, {"Host": "xo:8086", "Sec-Fetch-Site": "none"}),
        (False, {"Host": "inner:1", "Origin": "https://xo.example"}),  # trusted below
        (True, {"Host": "xo:8086", "Origin": "http://evil.example"}),
        (True, {"Host": "xo:8086", "Origin": "http://xo:9000"}),
        (True, {"Host": "xo:8086", "Origin": "null"}),  # sandboxed frames, files
        (True, {"Host": "xo:8086", "Origin": ""}),
        (True, {"Origin": "http://xo:8086"}),
        (True, {"Host": "xo:8086", "Sec-Fetch-Site": "cross-site"}),
        (True, {"Host": "xo:8086", "Sec-Fetch-Site": "same-site"}),
        (True, {"Host": "xo.example.evil.example", "Origin": "https://xo.example.evil"}),
    ],
)
def test_foreign_pages(foreign, headers):
    assert is_foreign_page(CIMultiDict(headers), ("https://xo.example",)) is foreign
