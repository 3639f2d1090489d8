import pytest

from xoproxy.pool.task_result import decoded, encoded


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("<value></value>", ""),
        ("<value/>", ""),
        ("<value>OpaqueRef:1</value>", "OpaqueRef:1"),
        ("<value>a &lt;b&gt; &amp; c</value>", "a <b> & c"),
        ("<value><string>x</string></value>", "x"),
        ("<value><array><data><value>a</value><value>b</value></data></array></value>", ["a", "b"]),
        ("<value><array><data></data></array></value>", []),
        (
            (
                "<value><struct><member><name>k</name><value>v</value></member>"
                "<member><name>n</name><value><i4>4</i4></value></member></struct></value>"
            ),
            {"k": "v", "n": 4},
        ),
        ("<value><boolean>1</boolean></value>", True),
        ("<value><double>0.5</double></value>", 0.5),
        (
            "<value><dateTime.iso8601>20240131T12:00:00Z</dateTime.iso8601></value>",
            "20240131T12:00:00Z",
        ),
        ("<value><nil/></value>", None),
        ("plain text", "plain text"),
        ("<value>broken", "<value>broken"),
        ("<value><int>x</int></value>", "<value><int>x</int></value>"),
    ],
)
def test_results_are_read_as_xml_rpc_values(text, value):
    assert value == decoded(text)


def test_entities_are_never_expanded():
    text = '<value/><!DOCTYPE x [<!ENTITY a "aaaa">]><value>&a;</value>'

    assert text == decoded(text)


def test_the_encoded_form_is_json():
    assert bytes(encoded("<value><array><data><value>a</value></data></array></value>")) == b'["a"]'
    assert bytes(encoded("<value><double>nan</double></value>")) == b"null"
