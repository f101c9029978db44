"""One property of an XMP packet changes, and nothing else does."""

import pytest

from watermark.assets import DamagedAsset
from watermark.labels import elements, xmp
from watermark.labels.xmp import Property

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TC260 = "http://www.tc260.org.cn/ns/AIGC/1.0/"
LABEL = '{"Label":"1","ReservedCode1":"{\\"a\\":\\"<&>\\"}"}'
CREATOR = Property("dc", "http://purl.org/dc/elements/1.1/", "format")

# As cameras and editors write it: comments, padding, two descriptions, odd prefixes.
RICH = (
    f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="A > B 'c'">
 <r:RDF xmlns:r="{RDF}"><!-- T:AIGC="no" -->
  <r:Description r:about="uuid:1" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:T="{TC260}" dc:format='T:AIGC="no"' T:AIGC = '{{"Label":"3"}}'>
   <dc:subject><r:Bag><r:li>灯台</r:li><r:li>T:AIGC</r:li></r:Bag></dc:subject>
  </r:Description>
  <r:Description r:about="uuid:1"><T:AIGC xmlns:T="{TC260}">{{"Label":"2"}}</T:AIGC>
  </r:Description>
 </r:RDF>
</x:xmpmeta>
"""
    + " " * 80
    + '<?xpacket end="w"?>'
).encode()


def packet(inside: str, spaces: str = "") -> bytes:
    about = f'<rdf:Description rdf:about=""{spaces}>{inside}</rdf:Description>'
    return f'<rdf:RDF xmlns:rdf="{RDF}">{about}</rdf:RDF>'.encode()


def test_cn_01_a_new_packet_holds_the_label_byte_for_byte() -> None:
    assert (
        xmp.with_label(None, LABEL.encode())
        == (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
            f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" '
            f'xmlns:TC260="{TC260}"><TC260:AIGC>{{"Label":"1","ReservedCode1":'
            '"{\\"a\\":\\"&lt;&amp;&gt;\\"}"}</TC260:AIGC></rdf:Description></rdf:RDF>'
            '</x:xmpmeta>\n<?xpacket end="w"?>'
        ).encode()
    )


def test_cn_08_attributes_elements_and_entities_are_read() -> None:
    assert xmp.labels(RICH) == [b'{"Label":"3"}', b'{"Label":"2"}']
    quoted = packet(
        "", f' xmlns:T="{TC260}" T:AIGC="{{&quot;Label&quot;:&#34;1&#34;}}"'
    )
    assert xmp.labels(quoted) == [b'{"Label":"1"}']


@pytest.mark.parametrize(
    "namespace",
    ["https://www.tc260.org.cn/ns/AIGC/1.0/", "http://www.tc260.org.cn/ns/aigc/1.0"],
)
def test_cn_08_the_namespace_is_met_in_other_spellings(namespace: str) -> None:
    found = packet(f'<a:AIGC xmlns:a="{namespace}">x</a:AIGC>')

    assert xmp.labels(found) == [b"x"]
    assert xmp.labels(xmp.with_label(found, b"{}")) == [b"{}"]


def test_a_name_in_another_namespace_is_no_label() -> None:
    assert xmp.labels(packet('<a:AIGC xmlns:a="urn:a">x</a:AIGC>')) == []


def test_the_label_of_an_ingredient_is_not_the_pictures() -> None:
    inner = f'<a:P xmlns:a="urn:a"><T:AIGC xmlns:T="{TC260}">x</T:AIGC></a:P>'

    assert xmp.labels(packet(inner)) == []


def test_cn_02_and_cn_03_the_label_is_one_and_the_rest_stays() -> None:
    once = xmp.with_label(RICH, LABEL.encode())
    twice = xmp.with_label(once, LABEL.encode())

    assert twice == once
    assert xmp.labels(once) == [LABEL.encode()]
    assert xmp.get(once, CREATOR) == ['T:AIGC="no"']
    about = b'<rdf:Description xmlns:rdf="%s" rdf:about="uuid:1"' % RDF.encode()
    start = once.index(about)
    end = once.index(b"</rdf:Description>") + len(b"</rdf:Description>")
    gone = RICH.replace(b' T:AIGC = \'{"Label":"3"}\'', b"")
    first = gone.index(b'  <r:Description r:about="uuid:1"><T:AIGC')
    last = gone.index(b"\n </r:RDF>")
    assert once[:start] + once[end:] == gone[: first + 2] + gone[last:]


def test_several_properties_are_set_at_once() -> None:
    values = {
        xmp.DIGITAL_SOURCE_TYPE: "http://cv.iptc.org/newscodes/x?a=1&b=2",
        xmp.AI_SYSTEM_USED: "acme diffusion",
        xmp.AI_SYSTEM_VERSION_USED: "3.1 <beta>",
        xmp.AIGC: LABEL,
    }
    changed = xmp.put(RICH, values)

    assert {name: xmp.get(changed, name) for name in values} == {
        name: [value] for name, value in values.items()
    }
    assert xmp.put(changed, {xmp.AI_SYSTEM_USED: "b"}).count(b"AISystemUsed>") == 2


@pytest.mark.parametrize("end", [b"", b"\0\0", b"\n"])
def test_a_packet_without_anything_takes_a_label(end: bytes) -> None:
    empty = f"<a:RDF xmlns:a='{RDF}' />".encode() + end

    assert xmp.labels(empty) == []
    assert xmp.labels(xmp.with_label(empty, b"{}")) == [b"{}"]


def test_a_resource_is_a_value() -> None:
    name = xmp.DIGITAL_SOURCE_TYPE
    inside = f'<i:{name.name} xmlns:i="{name.namespace}" rdf:resource="http://a/b"/>'

    assert xmp.get(packet(inside), name) == ["http://a/b"]


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"no XML",
        b"<a/>",
        RICH[:-200],
        RICH.decode().encode("utf-16"),
        b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + packet("&b;"),
        b"<!DOCTYPE a SYSTEM 'http://example.org/a.dtd'>" + packet(""),
        packet("<a>" * 200 + "</a>" * 200),
        packet("<a/>" * (elements.MAX_ELEMENTS + 1)),
        packet(" " * elements.MAX_BYTES),
        packet("\xe4").decode().encode("latin-1"),
    ],
)
def test_what_cannot_be_read_is_damage_and_not_an_absent_label(bad: bytes) -> None:
    with pytest.raises(DamagedAsset):
        xmp.get(bad, xmp.AIGC)
    if bad:
        with pytest.raises(DamagedAsset):
            xmp.with_label(bad, b"{}")


@pytest.mark.parametrize("value", ["a\0b", "a\x0bb", " a ", "a\r\nb"])
def test_a_value_that_would_not_come_back_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="XML cannot hold"):
        xmp.put(None, {xmp.AI_SYSTEM_USED: value})
