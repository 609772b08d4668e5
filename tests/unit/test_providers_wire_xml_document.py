"""XML answers: read as a mapping, and never dangerous."""

from __future__ import annotations

import time

import pytest

from asyncauth.providers.wire.xml_document import parse_xml

FAULT = """<?xml version="1.0" encoding="ISO-8859-1"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><soapenv:Fault>
  <faultcode xmlns:ns1="http://xml.apache.org/axis/">ns1:coe.alreadyAuthenticated</faultcode>
  <faultstring>El CEE ya posee un TA vá&#108;ido</faultstring><detail/>
</soapenv:Fault></soapenv:Body></soapenv:Envelope>"""


BOMB = '<!ENTITY a0 "x">' + "".join(f'<!ENTITY a{n + 1} "' + f"&a{n};" * 9 + '">' for n in range(9))


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("<a/>", {"a": ""}),
        ("<a>x</a>", {"a": "x"}),
        ("<a> x <!-- y --> z </a>", {"a": "x  z"}),
        ("<a><![CDATA[<b>]]></a>", {"a": "<b>"}),
        ("<a><b>1</b><c>2</c></a>", {"a": {"b": "1", "c": "2"}}),
        ("<a><b>1</b><b>2</b><b>3</b></a>", {"a": {"b": ["1", "2", "3"]}}),
        ("<a><b><c>1</c></b><b><c>2</c></b></a>", {"a": {"b": [{"c": "1"}, {"c": "2"}]}}),
        ('<r><credentials token="t" left="177:05:38"><site id="s"/></credentials></r>',
         {"r": {"credentials": {"token": "t", "left": "177:05:38", "site": {"id": "s"}}}}),
        ('<a id="1">x</a>', {"a": "x"}),
        ('<n:a xmlns:n="u" xmlns="v" n:id="1"/>', {"a": {"id": "1"}}),
        ("<a>&lt;&#233;&amp;</a>", {"a": "<é&"}),
        (FAULT, {"Envelope": {"Body": {"Fault": {
            "faultcode": "ns1:coe.alreadyAuthenticated", "faultstring": "El CEE ya posee un TA válido", "detail": "",
        }}}}),
    ],
)  # fmt: skip
def test_a_document_is_a_mapping(text: str, document: object) -> None:
    """Texts, attributes, children and lists, without namespaces; decoded already, whatever the document says."""
    assert parse_xml(text) == document


@pytest.mark.parametrize(
    "text",
    [
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a>&nosuch;</a>",
        "<a>\ud800</a>",
        "<HTML><body>blocked</body></HTML>",
        '<html xmlns="http://www.w3.org/1999/xhtml"/>',
        "<!DOCTYPE a><a/>",
        '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>',
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        "<a>" * 33 + "</a>" * 33,
        f"<a>{'<b/>' * 5000}</a>",
    ],
)
def test_what_is_not_read(text: str) -> None:
    """Damaged documents, pages, document types, and more than 32 levels or 5,000 elements."""
    assert parse_xml(text) is None


def test_the_limits_themselves_are_read() -> None:
    """32 levels and 5,000 elements are allowed."""
    assert parse_xml("<a>" * 32 + "</a>" * 32) is not None
    assert parse_xml(f"<a>{'<b/>' * 4999}</a>") is not None


@pytest.mark.parametrize(
    "text",
    [
        f"<!DOCTYPE a [{BOMB}]><a>&a9;</a>",
        "<a " + " ".join(f'b{number}="{number}"' for number in range(60_000)) + "/>",
        "<a>" * 300_000,
        "<a/>" * 250_000,
        f"<a>{'<b/>' * 200_000}</a>",
        f"<a>{'x&amp;' * 150_000}</a>",
        f"<a>{'<!-- -->' * 120_000}</a>",
        "<" + "a" * 1_000_000 + "/>",
    ],
)  # fmt: skip
def test_no_document_stops_the_event_loop(text: str) -> None:
    """A megabyte of entities, attributes, levels, elements, comments or one name costs little."""
    started = time.process_time()
    parse_xml(text)
    assert time.process_time() - started < 0.5
