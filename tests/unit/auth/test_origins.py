"""Which requests come from pages that are not ours."""

import pytest
from multidict import CIMultiDict

from xoproxy.auth import is_foreign_page, is_forgeable


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
        # the same host by another scheme, as somebody on the wire may serve it
        (True, {"Host": "xo", "Origin": "http://xo", "Sec-Fetch-Site": "cross-site"}),
        (False, {"Host": "xo", "Origin": "https://xo", "Sec-Fetch-Site": "same-origin"}),
        (False, {"Host": "i", "Origin": "https://xo.example", "Sec-Fetch-Site": "cross-site"}),
        (True, {"Host": "xo", "Sec-Fetch-Site": ""}),
    ],
)
def test_foreign_pages(foreign, headers):
    assert is_foreign_page(CIMultiDict(headers), ("https://xo.example",)) is foreign


@pytest.mark.parametrize(
    ("forgeable", "method", "headers"),
    [
        (False, "GET", {}),
        (False, "HEAD", {}),
        (True, "POST", {}),
        (True, "DELETE", {}),
        (True, "POST", {"Content-Type": "text/plain"}),
        (True, "POST", {"Content-Type": "application/x-www-form-urlencoded"}),
        (True, "POST", {"Content-Type": "text/plain; application/json"}),
        (False, "POST", {"Content-Type": "Application/JSON; charset=utf-8"}),
        (False, "DELETE", {"X-Requested-With": "xoproxy"}),
        (False, "POST", {"Origin": "http://xo"}),  # looked at by is_foreign_page
        (False, "POST", {"Sec-Fetch-Site": "same-origin"}),
    ],
)
def test_forgeable_requests(forgeable, method, headers):
    assert is_forgeable(method, CIMultiDict(headers)) is forgeable
