"""Reading opens no socket: neither ours nor the native library's."""

import ast
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.sign import tripwire
from tests.sign.sealed import without_sockets
from tests.sign.servers import PlainTsa
from tests.sign.test_c2pa import remote_only

import watermark.sign
from watermark.record import Record
from watermark.sign import c2pa, claims, timestamp, trust
from watermark.sign.authority import Authority
from watermark.sign.credential import Credential
from watermark.sign.signer import generate, private_pem

# Whoever imports one of these can talk to somebody.
NETWORK = {
    "aiohttp", "asyncio", "ftplib", "http", "httpx", "requests", "smtplib", "socket",
    "socketserver", "ssl", "urllib.request", "urllib3", "xmlrpc",
}  # fmt: skip
ALLOWED = {"fetching.py"}


@pytest.fixture(scope="module")
def folder(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that invite a reader to go and ask somebody."""
    place = tmp_path_factory.mktemp("tripwire")
    inviting = place / "files"
    inviting.mkdir()
    authority = Authority.create("Acme")
    key = generate("es256")
    url = "http://127.0.0.1:9/"
    leaf = authority.certify(key.public_key(), ocsp=url)
    chain_pem = authority.chain_pem(leaf)
    credential = Credential.from_pem(
        chain_pem, private_pem(key), root_pem=authority.root_pem
    )
    definition = claims.definition(Record(kind="image", provider="Acme"))
    for kind, data in files.items():
        signed = c2pa.sign(data, kind, definition, credential)
        (inviting / kind.replace("/", "-")).write_bytes(signed.data)
        (inviting / f"{kind.replace('/', '-')}.c2pa").write_bytes(signed.manifest)
        (inviting / f"{kind.replace('/', '-')}.cut").write_bytes(signed.data[:-200])
    remote = remote_only(files["image/jpeg"], f"{url}manifest", credential)
    (inviting / "remote").write_bytes(remote)
    (inviting / "chain").write_bytes(chain_pem)
    query = timestamp.request(bytes(32), 5)
    (inviting / "stamp").write_bytes(PlainTsa(authority).answer(query))
    (inviting / "link.html").write_text(
        f'<html><head><link rel="c2pa-manifest" href="{url}"></head></html>'
    )
    (inviting / "link.py").write_text(
        f"# -----BEGIN C2PA MANIFEST----- {url} -----END C2PA MANIFEST-----\npass\n"
    )
    (place / "root.pem").write_bytes(authority.root_pem)
    (place / "chain.pem").write_bytes(chain_pem)
    trust.update(
        place / "trust", "manifest", authority.root_pem, source=url,
        now=datetime(2026, 11, 23, tzinfo=UTC),
    )  # fmt: skip
    return place


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return without_sockets(tripwire.__file__, folder, *more)


def test_no_parser_opens_a_socket(folder: Path) -> None:
    done = run(folder)

    assert (done.returncode, done.stdout.strip()) == (0, tripwire.DONE), done.stderr


def test_the_wire_is_live(folder: Path) -> None:
    """The native library's own settings do fetch, and die of it."""
    done = run(folder, "--fetch")

    assert done.returncode == -signal.SIGSYS
    assert tripwire.DONE not in done.stdout


def test_one_module_alone_can_open_a_socket() -> None:
    source = Path(watermark.sign.__file__).parent
    found = {
        path.name
        for path in sorted(source.glob("*.py"))
        for name in imported(path)
        if any(name == n or name.startswith(f"{n}.") for n in NETWORK)
    }
    assert found == ALLOWED


def test_who_uses_that_module_is_known() -> None:
    """Nothing that reads or verifies files is among them.

    The client asks other repositories, and only those that a user has named; what the
    service fetches is its own tests' affair.
    """
    source = Path(watermark.sign.__file__).parent.parent
    users = {
        str(path.relative_to(source))
        for path in sorted(source.rglob("*.py"))
        if {"watermark.sign.fetching", "watermark.sign:fetching"} & set(imported(path))
    }
    assert {user for user in users if not user.startswith("serve/")} == {
        "sign/ocsp.py",
        "sign/stamping.py",
        "sign/trust.py",
        "resolution/client.py",
    }


def imported(path: Path) -> list[str]:
    """The modules that a file imports; `from a import b` is also ``a:b``."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}:{a.name}" for a in node.names)]
    return found
