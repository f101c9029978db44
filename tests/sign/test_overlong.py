"""A length that is not true costs no memory, wherever and however it is hidden."""

import base64
import io
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable

import c2pa as native  # noqa: TID251  # writes what this library does not
import pytest

from watermark.record import Record
from watermark.sign import c2pa, claims, text
from watermark.sign.credential import Credential
from watermark.sign.native import STORE
from watermark.sign.overlong import BYTES_PER_ITEM, MAX_ITEMS, overlong

DEFINITION = claims.definition(
    Record(kind="image", provider="Acme", system="a/1", record_id="ab" * 16)
)
# In an assertion: of the claim the library itself believes no such length.
TRUE, LIE = b"irecord_id", b"\x7a\xff\xff\xff\xffrd_id"


@pytest.mark.parametrize("media_type", c2pa.EMBEDDABLE)
def test_no_container_is_true_and_overlong(
    files: dict[str, bytes], credential: Credential, media_type: str
) -> None:
    signed = c2pa.sign(files[media_type], media_type, DEFINITION, credential)
    assert not overlong(signed.data)
    assert not overlong(signed.manifest)
    assert overlong(signed.manifest.replace(TRUE, LIE))


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
@pytest.mark.parametrize("media_type", sorted({*c2pa.EMBEDDABLE} - {"image/svg+xml"}))
def test_a_lie_costs_no_memory(
    files: dict[str, bytes], credential: Credential, media_type: str
) -> None:
    data = c2pa.sign(files[media_type], media_type, DEFINITION, credential).data
    lying = data.replace(TRUE, LIE)
    assert lying != data
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = c2pa.read(lying, media_type)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert (found.state, found.codes) == ("invalid", ("general.error",))
    assert after - before < 64 << 10  # KiB


def test_a_lie_in_a_text_or_beside_it_is_told(credential: Credential) -> None:
    signed = text.sign(b"words", DEFINITION, credential, carrier="sidecar")
    found = text.read(signed.data, sidecar=signed.manifest.replace(TRUE, LIE))

    assert (found.state, found.codes) == ("invalid", ("general.error",))


@pytest.fixture(scope="module")
def svg(files: dict[str, bytes], credential: Credential) -> tuple[bytes, bytes, bytes]:
    """A signed SVG, its store in base64, and another one that lies."""
    signed = c2pa.sign(files["image/svg+xml"], "image/svg+xml", DEFINITION, credential)
    lying = signed.manifest.replace(TRUE, LIE)
    old, new = map(base64.b64encode, (signed.manifest, lying))
    assert old in signed.data
    return signed.data, old, new


@pytest.mark.parametrize("before", [b"", b"<!-- x -->", b"<?x?>"])
@pytest.mark.parametrize("prefix", [b"c2pa", b"x"])
def test_a_lie_in_an_svg_is_told_as_the_library_finds_it(
    svg: tuple[bytes, bytes, bytes], before: bytes, prefix: bytes
) -> None:
    data, old, new = svg
    page = data.replace(old, before + old)
    page = page.replace(b"c2pa:manifest", prefix + b":manifest")
    page = page.replace(b"xmlns:c2pa", b"xmlns:" + prefix)
    # The library reads the true one, so it would read the other one too.
    assert c2pa.read(page, "image/svg+xml").manifest_id
    assert overlong(page.replace(old, new))


def parts(data: bytes) -> tuple[bytes, list[bytes], bytes]:
    """A JPEG before its APP11 segments, these, and the rest."""
    place, found = 2, []
    while data[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] == 0xEB:
            found.append(data[place:end])
        place = end
    start = data.index(found[0])
    return data[:start], found, data[start + len(b"".join(found)) :]


@pytest.fixture(scope="module")
def jpeg(
    files: dict[str, bytes], credential: Credential
) -> tuple[bytes, list[bytes], bytes]:
    """One whose store takes two segments."""
    definition = claims.definition(Record(kind="image", provider="Acme"))
    more = {"label": "org.acme.note", "created": True, "data": {"note": "z" * 70_000}}
    definition["assertions"].append(more)
    signed = c2pa.sign(files["image/jpeg"], "image/jpeg", definition, credential)
    assert not overlong(signed.data)
    found = parts(signed.data)
    assert len(found[1]) == 2
    return found


def again(segment: bytes, number: int) -> bytes:
    """A segment with another number in the sequence."""
    return segment[:8] + number.to_bytes(4, "big") + segment[12:]


OTHER = b"\xff\xeb" + struct.pack(">H", 50) + b"JP\0\t\0\0\0\1" + b"\0\0\0\x28abcd"
OTHER += b"q" * 32


def test_segments_are_read_as_writers_leave_them(
    jpeg: tuple[bytes, list[bytes], bytes],
) -> None:
    head, (one, two), rest = jpeg
    for fine in (
        head + OTHER + one + two + rest,
        head + one + two + OTHER + rest,
        head + one + b"\xff\xfe\0\4ab" + two + rest,
        head + b"\xff\xff" + one + b"\xff" + two + rest,
    ):
        assert not overlong(fine)
        assert overlong(fine.replace(b"dnotez\0\1", b"dnotez\x7f\1"))


ORDERS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "a gap": lambda one, two: one + again(two, 7),
    "the same number": lambda one, two: one + again(two, 1),
    "another between": lambda one, two: one + OTHER + two,
    "the first twice": lambda one, two: one + two + one,
    "the last twice": lambda one, two: one + two + two,
}


@pytest.mark.parametrize("order", ORDERS)
def test_segments_in_another_order_are_not_let_through(
    jpeg: tuple[bytes, list[bytes], bytes], order: str
) -> None:
    head, (one, two), rest = jpeg
    data = head + ORDERS[order](one, two) + rest
    assert overlong(data)
    found = c2pa.read(data, "image/jpeg")
    assert (found.state, found.codes) == ("invalid", ("general.error",))


def test_a_jpeg_whose_segments_do_not_follow_each_other_is_not_let_through(
    jpeg: tuple[bytes, list[bytes], bytes],
) -> None:
    head, segments, rest = jpeg
    assert overlong(head + b"?" + b"".join(segments) + rest)
    assert not overlong(head + b"?" + rest)  # there is no manifest in it


def test_no_block_stands_before_that_of_a_gif(
    files: dict[str, bytes], credential: Credential
) -> None:
    signed = c2pa.sign(files["image/gif"], "image/gif", DEFINITION, credential).data
    place = signed.index(b"C2PA_GIF") - 3
    comment = b"\x21\xfe\x0cC2PA_GIF\1\0\0\0\0"
    assert overlong(signed[:place] + comment + signed[place:])


def synchsafe(number: int) -> bytes:
    return bytes(number >> n & 127 for n in (21, 14, 7, 0))


@pytest.mark.parametrize("media_type", ["audio/mpeg", "audio/flac"])
@pytest.mark.parametrize(("version", "flags"), [(4, b"\0\x09"), (3, b"\0\x80")])
def test_a_compressed_frame_is_not_let_through(
    files: dict[str, bytes],
    credential: Credential,
    media_type: str,
    version: int,
    flags: bytes,
) -> None:
    signed = c2pa.sign(files[media_type], media_type, DEFINITION, credential).data
    place = signed.index(b"GEOB")
    size = int.from_bytes(signed[6:10], "big")
    tag = sum((size >> n & 127) << n // 8 * 7 for n in (0, 8, 16, 24))
    length = int.from_bytes(signed[place + 4 : place + 8], "big")
    frame = sum((length >> n & 127) << n // 8 * 7 for n in (0, 8, 16, 24))
    content = signed[place + 10 : place + 10 + frame]
    assert STORE in content
    packed = zlib.compress(content)
    count = synchsafe if version == 4 else lambda n: n.to_bytes(4, "big")
    made = b"GEOB" + count(len(packed) + 4) + flags + count(len(content)) + packed
    head = b"ID3" + bytes([version, 0, 0]) + synchsafe(len(made))
    hidden = head + made + signed[10 + tag :]

    assert STORE not in hidden
    assert overlong(hidden)
    assert not overlong(head + b"GEOB" + made[4:10] + bytes(len(made)))


def test_a_compressed_manifest_is_not_let_through(files: dict[str, bytes]) -> None:
    """Nobody can say what lengths are in it."""
    from watermark.sign.native import _settings, _throw_away

    settings = _settings(b"") | {"core": {"prefer_compress_manifests": True}}
    signer = native.Signer.from_info(
        native.C2paSignerInfo("ed25519", *_throw_away(), None)
    )
    out = io.BytesIO()
    with (
        native.Context(native.Settings.from_dict(settings), signer) as context,
        native.Builder({"assertions": []}, context=context) as builder,
    ):
        builder.sign("image/png", io.BytesIO(files["image/png"]), out)
    assert b"brob" in out.getvalue()
    assert c2pa.read(out.getvalue(), "image/png").state == "invalid"
    assert not overlong(files["image/png"] + b"brob")


@pytest.mark.parametrize("length", [b"\0\0\0\0", b"\0\0\0\1"])
def test_a_length_in_another_form_is_not_let_through(
    credential: Credential, length: bytes
) -> None:
    store = text.sign(b"words", DEFINITION, credential, carrier="sidecar").manifest
    place = store.rindex(b"cbor", 0, store.index(TRUE))
    assert overlong(store[: place - 4] + length + store[place:])
    long = b"\0\0\0\1jumb" + (len(store) + 8).to_bytes(8, "big") + store[8:]
    assert not overlong(long)
    assert overlong(long.replace(TRUE, LIE))


def test_no_box_hides_behind_a_shorter_store(credential: Credential) -> None:
    """A store that begins before the true one, and ends before its lie."""
    store = text.sign(b"words", DEFINITION, credential, carrier="sidecar").manifest
    lying = store.replace(TRUE, LIE)
    head = b"jumb\0\0\0\x1e" + STORE + b"\3\0"
    end = 4 + len(head) + lying.index(LIE)
    head = end.to_bytes(4, "big") + head
    assert overlong(head + lying)
    assert not overlong(head + store)


@pytest.mark.parametrize(
    "hostile",
    [
        b"\0\0\0\x20jumb\0\0\0\x1e" + STORE + b"\0" * 2,
        b"\x7f\xff\xff\xffjumb\0\0\0\x1e" + STORE,
        b"\0\0\0\x08cbor",
        b"\0\1\0\0cbor" + b"\0" * 24,
        b"GEOB\0\0\0\0\0\x08",
    ],
)
@pytest.mark.parametrize("magic", [b"\x89PNG", b"ID3\4\0\0"])
def test_hostile_bytes_take_no_time(magic: bytes, hostile: bytes) -> None:
    store = b"\x7f\xff\xff\xffjumb\0\0\0\x1e" + STORE
    data = magic + store + hostile * (3_000_000 // len(hostile))
    started = time.process_time()
    overlong(data)
    assert time.process_time() - started < 2


def test_what_has_too_many_items_is_not_let_through() -> None:
    store = b"\x7f\xff\xff\xffjumb\0\0\0\x1e" + STORE
    few = MAX_ITEMS // 2
    for items, expected in ((few, False), (MAX_ITEMS + few, True)):
        box = (items + 8).to_bytes(4, "big") + b"cbor" + bytes(items)
        assert len(store + box) // BYTES_PER_ITEM < few
        assert overlong(store + box) is expected
