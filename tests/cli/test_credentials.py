"""`wm keys dev-ca`, `lint` and `renew`, and `wm trust`."""

import hashlib
import stat
from pathlib import Path

import pytest
from tests.cli.running import picture, wm

from watermark.api import Watermark
from watermark.cli.terminal import Code
from watermark.home import Home
from watermark.sign import c2pa, rotation, trust
from watermark.sign.authority import Authority
from watermark.sign.credential import Credential


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Watermark.create(tmp_path / "home", provider="Acme").home.ledger.close()
    return tmp_path / "home"


def test_a_development_ca_signs_and_is_without_fault(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    made = wm("keys", "dev-ca", folder, "--organisation", "Acme", "--days", 7)

    assert made.code == 0, made.err
    assert "Made a development certificate for Acme" in made.out
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    assert Credential.load(folder).organisation == "Acme"
    checked = wm(
        *("keys", "lint", folder / "chain.pem", "--key", folder / "key.pem"),
        *("--anchors", folder / "root.pem"),
    )
    assert (checked.code, checked.err) == (0, "")
    assert "nothing is wrong with it" in checked.out


def test_a_development_ca_never_overwrites(tmp_path: Path) -> None:
    wm("keys", "dev-ca", tmp_path / "ca", "--organisation", "Acme")
    before = (tmp_path / "ca" / "key.pem").read_bytes()
    again = wm("keys", "dev-ca", tmp_path / "ca", "--organisation", "Acme")

    assert again.code == Code.CONFIGURATION
    assert "never overwritten" in again.err
    assert (tmp_path / "ca" / "key.pem").read_bytes() == before


def test_a_kept_authority_is_the_one_that_issued(tmp_path: Path) -> None:
    made = wm(
        *("keys", "dev-ca", tmp_path / "ca", "--organisation", "Acme"),
        *("--algorithm", "ed25519", "--keep-authority", tmp_path / "authority"),
    )
    assert made.code == 0, made.err
    authority = Authority.load(tmp_path / "authority")
    assert authority.root_pem == (tmp_path / "ca" / "root.pem").read_bytes()
    assert Credential.load(tmp_path / "ca").algorithm == "ed25519"


def test_a_wrong_algorithm_is_told(tmp_path: Path) -> None:
    made = wm(
        *("keys", "dev-ca", tmp_path / "ca", "--organisation", "Acme"),
        *("--algorithm", "md5"),
    )
    assert made.code == Code.CONFIGURATION
    assert "'md5'" in made.err
    assert not (tmp_path / "ca").exists()


def test_lint_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    wm("keys", "dev-ca", tmp_path / "ca", "--organisation", "Acme")
    done = wm("keys", "lint", tmp_path / "ca" / "root.pem")

    assert done.code == Code.CONFIGURATION
    assert "error: ca-leaf" in done.out
    assert "put the leaf first" in done.out
    assert "stop signing" in done.err

    found = wm("keys", "lint", tmp_path / "ca" / "root.pem", "--json")
    assert found.code == Code.CONFIGURATION
    assert found.json[0]["code"] == "ca-leaf"
    assert set(found.json[0]) == {
        *("code", "level", "subject", "found", "expected", "action")
    }


def test_lint_tells_bad_files(tmp_path: Path) -> None:
    assert wm("keys", "lint", tmp_path / "none").code == Code.CONFIGURATION
    (tmp_path / "junk").write_bytes(b"junk")
    assert "error: parse" in wm("keys", "lint", tmp_path / "junk").out
    wm("keys", "dev-ca", tmp_path / "ca", "--organisation", "Acme")
    bad = wm(
        *("keys", "lint", tmp_path / "ca" / "chain.pem"),
        *("--anchors", tmp_path / "junk"),
    )
    assert bad.code == Code.CONFIGURATION
    assert "holds no PEM certificates" in bad.err


def test_renew_signs_with_the_new_certificate(home: Path, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    embed = ("embed", tmp_path / "a.png", "--home", home, "-o")
    assert wm(*embed, tmp_path / "before.png").code == 0
    wm("keys", "dev-ca", tmp_path / "new", "--organisation", "Acme Two")
    done = wm("keys", "renew", tmp_path / "new", "--home", home)

    assert done.code == 0, done.err
    assert "Signing as Acme Two" in done.out
    states = [entry.state for entry in rotation.entries(home / "credential")]
    assert sorted(states) == ["active", "retired"]
    signed = wm(*embed, tmp_path / "after.png")
    assert signed.code == 0, signed.err
    for name, signer in (("before", "Acme"), ("after", "Acme Two")):
        data = (tmp_path / f"{name}.png").read_bytes()
        found = c2pa.read(data, "image/png", anchors=Home.open(home).anchors)
        assert (found.state, found.signer) == ("trusted", signer)


def test_a_trust_list_is_taken_and_shown(home: Path, tmp_path: Path) -> None:
    empty = wm("trust", "show", "--home", home)
    assert "No trust lists" in empty.out
    wm("keys", "dev-ca", tmp_path / "ca", "--organisation", "Acme")
    root = tmp_path / "ca" / "root.pem"
    digest = hashlib.sha256(root.read_bytes()).hexdigest()

    done = wm("trust", "update", root, "--sha256", digest, "--home", home)
    assert done.code == 0, done.err
    assert "manifest: 1 authorities" in done.out
    assert "Acme development root" in done.out
    shown = wm("trust", "show", "--json", "--home", home)
    assert shown.json[0]["kind"] == "manifest"
    assert shown.json[0]["source"] == str(root)
    assert trust.anchors(home / "trust", "manifest") == root.read_bytes()
    names = wm("trust", "show", "--names", "--home", home)
    assert "Acme development root" in names.out


def test_what_is_no_trust_list_is_refused(home: Path, tmp_path: Path) -> None:
    wm("keys", "dev-ca", tmp_path / "ca", "--organisation", "Acme")
    chain_pem = tmp_path / "ca" / "chain.pem"

    refused = wm("trust", "update", chain_pem, "--home", home)
    assert refused.code == Code.CONFIGURATION
    assert "is no CA" in refused.err
    assert wm("trust", "update", "--home", home).code == Code.USAGE
    other = wm("trust", "update", chain_pem, "--kind", "cat", "--home", home)
    assert other.code == Code.USAGE
    plain = wm("trust", "update", "--url", "http://127.0.0.1:9/", "--home", home)
    assert plain.code == Code.CONFIGURATION
    assert "https://" in plain.err
    assert not (home / "trust").exists()
