"""`wm stamp`: authorities are named, tried, and stamp what was signed."""

import hashlib
from pathlib import Path

import pytest
from benchmarks.conformance.containers import picture
from tests.cli.running import wm
from tests.sign.servers import PlainTsa, serving

from watermark.api import Watermark
from watermark.cli.terminal import Code
from watermark.home import Home
from watermark.sign import c2pa, stamps, text
from watermark.sign.authority import Authority
from watermark.store.leaf import ASSET

TSA = Authority.create("Clock Ltd")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Watermark.create(tmp_path / "home", provider="Acme").home.ledger.close()
    (tmp_path / "tsa.pem").write_bytes(TSA.root_pem)
    return tmp_path / "home"


def use(home: Path, url: str, *more: str) -> None:
    done = wm(
        *("stamp", "use", url, "--anchors", home.parent / "tsa.pem"),
        *(*more, "--home", home),
    )
    assert done.code == 0, done.err
    assert "Clock Ltd answered" in done.out


def png(folder: Path) -> Path:
    path = folder / "a.png"
    path.write_bytes(picture("PNG"))
    return path


def anchors(home: Path) -> c2pa.Trust:
    return {
        "anchors": Home.open(home).anchors,
        "tsa_anchors": stamps.anchors(home / "credential"),
    }


def test_what_is_signed_after_use_has_a_stamp(home: Path, tmp_path: Path) -> None:
    with serving(PlainTsa(TSA)) as url:
        use(home, url)
        source = png(tmp_path)
        done = wm("embed", source, "-o", tmp_path / "b.png", "--home", home)
        assert done.code == 0, done.err
    found = c2pa.read((tmp_path / "b.png").read_bytes(), "image/png", **anchors(home))

    assert (found.state, found.timestamp) == ("trusted", "trusted")
    assert wm("stamp", "off", "--home", home).code == 0
    shown = wm("stamp", "show", "--home", home).out.split()
    assert shown[shown.index("asked") + 1] == "never"


def test_what_waited_is_stamped_and_published(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The lamp turned.")
    png(tmp_path)
    with serving(PlainTsa(TSA)) as url:
        use(home, url, "--deferred")
        out = tmp_path / "out"
        out.mkdir()
        files = [tmp_path / "a.txt", tmp_path / "a.png"]
        done = wm("embed", *files, "-o", out, "--home", home)
        assert done.code == 0, done.err
        shown = wm("stamp", "show", "--home", home).out
        assert "2 signatures" in shown
        assert "2 stamped, 0 waiting" in wm("stamp", "due", "--home", home).out
    # Nobody is asked any more: the stamps are here.
    done = wm("stamp", "file", out / "a.txt", out / "a.png", "--home", home)
    assert done.code == 0, done.err
    assert "does not know" not in done.err

    trust = anchors(home)
    sidecar = next(p for p in out.iterdir() if p.suffix == ".c2pa").read_bytes()
    words = (out / "a.txt").read_bytes()
    for found in (
        text.read(words, sidecar=sidecar, **trust),
        c2pa.read((out / "a.png").read_bytes(), "image/png", **trust),
    ):
        assert (found.state, found.timestamp) == ("trusted", "trusted")
    ledger = Home.open(home).ledger
    with ledger:
        digest = hashlib.sha256((out / "a.png").read_bytes()).digest()
        assert [r.event for r in ledger.by_binding(ASSET, digest)] == ["published"]


def test_a_private_file_stays_private_and_a_link_a_link(
    home: Path, tmp_path: Path
) -> None:
    with serving(PlainTsa(TSA)) as url:
        use(home, url, "--deferred")
        source = png(tmp_path)
        out = tmp_path / "b.png"
        assert wm("embed", source, "-o", out, "--home", home).code == 0
        out.chmod(0o600)
        link = tmp_path / "link.png"
        link.symlink_to(out)
        done = wm("stamp", "file", link, "--home", home)
    assert done.code == 0, done.err
    assert link.is_symlink()
    assert out.stat().st_mode & 0o777 == 0o600
    found = c2pa.read(out.read_bytes(), "image/png", **anchors(home))
    assert (found.state, found.timestamp) == ("trusted", "trusted")


def test_one_bad_file_stops_no_other(home: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.bin"
    bad.write_bytes(b"\0\1\2\3")
    with serving(PlainTsa(TSA)) as url:
        use(home, url, "--deferred")
        out = tmp_path / "b.png"
        assert wm("embed", png(tmp_path), "-o", out, "--home", home).code == 0
        before = out.read_bytes()
        done = wm("stamp", "file", bad, tmp_path / "none", out, "--home", home)
    assert done.code == Code.CONFIGURATION
    assert "bad.bin: found no manifest" in " ".join(done.err.split())
    assert out.read_bytes() != before
    assert bad.read_bytes() == b"\0\1\2\3"


def test_a_second_stamp_and_a_plain_file_are_told(home: Path, tmp_path: Path) -> None:
    source = png(tmp_path)
    with serving(PlainTsa(TSA)) as url:
        use(home, url)
        done = wm("stamp", "file", source, "--home", home)
    assert done.code == Code.CONFIGURATION
    assert "found no manifest to be stamped" in done.err


def test_an_authority_that_does_not_answer_is_not_taken(home: Path) -> None:
    done = wm(
        *("stamp", "use", "http://127.0.0.1:9/", "--home", home),
        *("--anchors", home.parent / "tsa.pem"),
    )
    assert done.code == Code.CONFIGURATION
    assert "cannot be reached" in done.err
    assert "no time-stamp authority" in wm("stamp", "show", "--home", home).err
