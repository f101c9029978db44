"""`wm serve`: tokens, and a process that serves and ends."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from watermark.cli import main
from watermark.cli.terminal import Code
from watermark.errors import KeyFileError
from watermark.home import Home
from watermark.serve.tokens import FILE, SCOPES, Tokens

SOURCES = Path(__file__).parents[2] / "src"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("command") / "home"
    Home.create(path, provider="Acme").ledger.close()
    return path


def wm(*argv: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in argv])
    return int(stopped.value.code or 0)


def test_tokens(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = ("--home", home)
    assert wm("serve", "token", "ci", "--scope", "store:manifests", *named) == 0
    secret = capsys.readouterr().out.strip()
    known = Tokens(home)

    assert known.scopes(secret) == frozenset({"store:manifests"})
    assert known.scopes(secret + "x") is None
    assert known.scopes("\ud800") is None
    file = home / FILE
    assert secret not in file.read_text()
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert wm("serve", "tokens", *named) == 0
    listed = capsys.readouterr().out
    assert "ci" in listed
    assert secret not in listed
    # The same name, an unknown scope, an unusable name.
    again = ("serve", "token", "ci", "--scope", "store:manifests", *named)
    assert wm(*again) == Code.USAGE
    assert wm("serve", "token", "b", "--scope", "all", *named) == Code.USAGE
    assert wm("serve", "token", "b c", "--scope", SCOPES[0], *named) == Code.USAGE
    assert wm("serve", "revoke", "ci", *named) == 0
    assert known.scopes(secret) is None
    assert wm("serve", "revoke", "ci", *named) == Code.UNREADABLE


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": "other"}', "[" * 100_000, '{"schema": 1}']
)
def test_a_damaged_file_of_tokens(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(KeyFileError, match="cannot be read"):
        Tokens(tmp_path).scopes("wm_x")


@pytest.mark.skipif(sys.platform == "win32", reason="no modes")
def test_a_file_of_tokens_that_others_can_read(tmp_path: Path) -> None:
    Tokens(tmp_path).add("a", frozenset(SCOPES))
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(KeyFileError):
        Tokens(tmp_path).all()


def test_options_that_make_no_sense(home: Path) -> None:
    bad = (
        ("--public-url", "acme"),
        ("--contact", "javascript:alert(1)"),
        ("--proxy", "*"),
        ("--proxy", "10.0.0.1,*"),
    )
    for option in bad:
        assert wm("serve", "--home", home, *option) == Code.USAGE


def test_without_the_extra() -> None:
    """The client needs no server; the server says what to install."""
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "import watermark.resolution.client\n"
        "from watermark.cli import main; main(['serve', '--home', 'nowhere'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == Code.CONFIGURATION
    assert "pip install 'watermark-sdk[serve]'" in done.stderr


def test_what_stops_it_from_starting(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert wm("serve", "--home", home, "--port", port) == Code.CONFIGURATION
    locked = tmp_path / "locked"
    Home.create(locked, provider="Acme", passphrase="secret").ledger.close()
    assert wm("serve", "--home", locked, "--port", 0) == Code.CONFIGURATION
    assert wm("serve", "--home", tmp_path, "--port", 0) == Code.CONFIGURATION
    told = capsys.readouterr().err

    assert "in use" in told
    assert "passphrase" in told


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_it_serves_until_it_is_told_to_end(home: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ("serve", "--home", home, "--port", port, "--workers", 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "watermark", *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = f"http://127.0.0.1:{port}/readyz"
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                    assert answer.read() == b"ready\n"
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        workers = children(process.pid)
        assert workers
    finally:
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert "Traceback" not in told
    assert "Serving" in told
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(n) for n in path.read_text().split()] if path.exists() else [0]
