"""The label of GB 45438-2025: written strictly, read leniently."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watermark.errors import LabelError
from watermark.labels import aigc
from watermark.labels.aigc import Label

CODE = "001191110102MAD55U9H0F10002"
GOOD = Label("1", CODE, "0123456789abcdef" * 2)
NESTED = '{"SecurityData":{"Type":"TC260PG","Version":1}}'


def test_cn_01_the_object_is_written_byte_for_byte() -> None:
    label = replace(GOOD, reserved_code1=NESTED)

    assert label.encode() == (
        b'{"Label":"1","ContentProducer":"001191110102MAD55U9H0F10002",'
        b'"ProduceID":"0123456789abcdef0123456789abcdef",'
        b'"ReservedCode1":"{\\"SecurityData\\":{\\"Type\\":\\"TC260PG\\",'
        b'\\"Version\\":1}}","ContentPropagator":"","PropagateID":"",'
        b'"ReservedCode2":""}'
    )


@pytest.mark.parametrize("field", [field.name for field in fields(Label)][1:])
@pytest.mark.parametrize("bad", [" ", "\\", "灯", "\n", "\x7f", "\0", "\ud800"])
def test_cn_04_the_characters_of_annex_e_alone_are_written(
    field: str, bad: str
) -> None:
    full = replace(GOOD, content_propagator=CODE, propagate_id="7")
    label = replace(full, **{field: f"a{bad}b"})

    with pytest.raises(LabelError, match=r"at 1, .* \(GB 45438-2025, Annex E j\)\)$"):
        label.encode()


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60))
def test_cn_04_every_other_character_comes_back(text: str) -> None:
    label = replace(GOOD, reserved_code1=text.replace("\\", ""))
    found = aigc.parse(label.encode())

    assert found.label == label
    assert found.deviations == ()


@pytest.mark.parametrize("level", ["", "0", "4", "11", "AIGC", "\uff11", 1])
def test_cn_05_the_level_is_the_text_1_2_or_3(level: str) -> None:
    with pytest.raises(LabelError, match="expected one of 1, 2, 3"):
        replace(GOOD, label=level).encode()


@pytest.mark.parametrize(
    "label",
    [
        Label("1"),
        Label("1", CODE),
        Label("1", "", "5"),
        Label("1", "", "", "", CODE, "5"),
        Label("2"),
        Label("2", CODE, "5", "", CODE),
        Label("3", CODE, "5", "", "", "7"),
    ],
)
def test_a_code_without_its_number_is_refused(label: Label) -> None:
    with pytest.raises(LabelError, match="Annex E"):
        label.encode()


@pytest.mark.parametrize("level", ["2", "3"])
def test_a_platform_may_not_know_the_producer(level: str) -> None:
    label = Label(level, content_propagator=CODE, propagate_id="5")

    assert aigc.parse(label.encode()).label == label


def test_a_label_that_no_container_would_hold_is_refused() -> None:
    label = replace(GOOD, reserved_code1="a" * aigc.MAX_BYTES)

    with pytest.raises(LabelError, match=f"at most {aigc.MAX_BYTES}"):
        label.encode()


def text(**changes: object) -> bytes:
    """The label `GOOD` with other members."""
    members = {**json.loads(GOOD.encode()), **changes}
    compact = json.dumps(members, separators=(",", ":"), ensure_ascii=False)
    return compact.encode("utf-8", "surrogatepass")


CASES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "the word AIGC for the level": (text(Label="AIGC"), ("level",)),
    "a number for the level": (text(Label=1), ("type of Label",)),
    "a name": (text(ContentProducer="doubao"), ("producer is no code",)),
    "a name with spaces": (
        text(ContentProducer="Minimax Agent AI"),
        ("charset of ContentProducer", "producer is no code"),
    ),
    "small first letters": (
        GOOD.encode().replace(b'"L', b'"l').replace(b'"C', b'"c'),
        ("case of Label", "case of ContentProducer", "case of ContentPropagator"),
    ),
    "ReserveCode1": (
        GOOD.encode().replace(b"ReservedCode1", b"ReserveCode1"),
        ("misspelt ReservedCode1",),
    ),
    "ServiceProvider": (
        GOOD.encode().replace(b"ContentProducer", b"ServiceProvider"),
        ("ServiceProvider",),
    ),
    "wrapped": (b'{"AIGC":' + GOOD.encode() + b"}", ("wrapped",)),
    "wrapped as a text": (
        b'{"AIGC":' + json.dumps(GOOD.encode().decode()).encode() + b"}",
        ("wrapped",),
    ),
    "in a segment of its own": (b"AIGC" + GOOD.encode(), ("prefixed",)),
    "with an end of text": (GOOD.encode() + b"\0", ("padded",)),
    "with a byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), ("padded",)),
    "with spaces": (GOOD.encode().replace(b",", b", "), ("not compact",)),
    "with escapes": (GOOD.encode().replace(b'"1"', b'"\\u0031"'), ("not compact",)),
    "another order": (
        json.dumps(
            dict(reversed(json.loads(GOOD.encode()).items())), separators=(",", ":")
        ).encode(),
        ("order",),
    ),
    "three keys": (
        GOOD.encode().partition(b',"ReservedCode1"')[0] + b"}",
        (
            "missing ReservedCode1",
            "missing ContentPropagator",
            "missing PropagateID",
            "missing ReservedCode2",
        ),
    ),
    "one key more": (text(Timestamp="2026"), ("unknown Timestamp",)),
    "null": (text(ReservedCode1=None), ("type of ReservedCode1",)),
}


@pytest.mark.parametrize("name", CASES)
def test_cn_08_what_others_write_is_read_and_named(name: str) -> None:
    raw, deviations = CASES[name]
    found = aigc.parse(raw)

    assert found.deviations == deviations
    assert found.raw == raw
    assert found.label is not None
    assert found.label.produce_id == GOOD.produce_id
    if not {"level", "producer is no code"} & {*deviations}:
        assert found.label == GOOD


def test_the_first_of_two_members_counts() -> None:
    found = aigc.parse(GOOD.encode()[:-1] + b',"Label":"3"}')

    assert found.label == GOOD
    assert "duplicate Label" in found.deviations


@pytest.mark.parametrize(
    ("raw", "deviation"),
    [
        (b"", "not JSON"),
        (b"AIGC", "not JSON"),
        (b'{"Label":"1"', "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b'{"AIGC":' * 900 + b"1" + b"}" * 900, "not JSON"),
        (b'{"Label":' + b"9" * 5000 + b"}", "not JSON"),
        (b'"Label"', "not an object"),
        (b'{"AIGC":[]}', "not an object"),
        (b'{"aigc_label_type":"1"}', "no known key"),  # another maker's own
        (b"{}", "no known key"),
        (b"\xff", "not UTF-8"),
        (b" " * (aigc.MAX_BYTES + 1), "too long"),
    ],
)
def test_what_is_no_label_is_none(raw: bytes, deviation: str) -> None:
    found = aigc.parse(raw)

    assert found.label is None
    assert deviation in found.deviations


@given(st.binary(max_size=200))
def test_no_bytes_raise(raw: bytes) -> None:
    aigc.parse(raw)
    aigc.parse(b'{"Label":' + raw + b"}")


def test_lone_surrogates_are_not_handed_on() -> None:
    found = aigc.parse(b'{"Label":"1","ProduceID":"\\ud800"}')

    assert found.label is not None
    assert found.label.produce_id == "?"


def test_a_platform_leaves_the_producers_values_as_they_are() -> None:
    raw = text(ContentProducer="Minimax Agent AI", Label=1)
    after = aigc.propagated(aigc.parse(raw), CODE, "77", "sealed")

    assert json.loads(after) == {
        "Label": "1",
        "ContentProducer": "Minimax Agent AI",
        "ProduceID": GOOD.produce_id,
        "ReservedCode1": "",
        "ContentPropagator": CODE,
        "PropagateID": "77",
        "ReservedCode2": "sealed",
    }


@pytest.mark.parametrize(
    ("raw", "code", "number"),
    [(GOOD.encode(), "a b", "7"), (GOOD.encode(), CODE, ""), (b"{}", CODE, "7")],
)
def test_a_platform_writes_no_wrong_values(raw: bytes, code: str, number: str) -> None:
    with pytest.raises(LabelError, match="Annex E"):
        aigc.propagated(aigc.parse(raw), code, number)


def test_a_platform_without_a_code_propagates_nothing() -> None:
    with pytest.raises(LabelError, match="ContentPropagator is empty"):
        aigc.propagated(aigc.parse(GOOD.encode()), "", "")
