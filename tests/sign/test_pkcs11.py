"""Signing with keys inside SoftHSM2 (Debian: softhsm2), a PKCS#11 token in software."""

import os
import pickle
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.sign.test_signers import ACME, DEFINITION

from watermark.errors import KeyFileError, SigningError
from watermark.sign import c2pa
from watermark.sign.credential import Credential
from watermark.sign.signer import PrivateKey, generate, private_pem

pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (extra pkcs11)")

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
MODULE = next((m for m in MODULES if Path(m).exists()), "")
UTIL = shutil.which("softhsm2-util")
if not MODULE or not UTIL:
    pytest.skip("softhsm2 is not installed", allow_module_level=True)

PIN = "98765432"
OPEN: list[Any] = []
NAMES = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")


def util(*arguments: str) -> None:
    assert UTIL is not None
    subprocess.run([UTIL, *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """A token with a key for each algorithm; answers the chains that go with them."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(
        f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n"
    )
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(config)
    util("--init-token", "--free", "--label", "acme", "--so-pin", "1234", "--pin", PIN)
    chains = {}
    shared = rsa.generate_private_key(65537, 2048)
    for number, name in enumerate(NAMES):
        key: PrivateKey = shared if name.startswith("ps") else generate(name)
        path = folder / f"{name}.pem"
        path.write_bytes(private_pem(key))
        util(
            "--import", str(path), "--token", "acme", "--pin", PIN,
            "--label", name, "--id", f"{number + 1:02x}",
        )  # fmt: skip
        chains[name] = ACME.chain_pem(ACME.certify(key.public_key()))
    yield chains
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


def signer(name: str, **more: Any) -> Any:
    from watermark.sign.pkcs11 import Pkcs11Signer

    given = {"token": "acme", "algorithm": name, "pin": PIN, "label": name, **more}
    made = Pkcs11Signer(MODULE, **given)
    OPEN.append(made)
    return made


@pytest.fixture(autouse=True)
def logged_out() -> Iterator[None]:
    """A login is for the whole process: the next test starts without one."""
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.mark.parametrize("name", NAMES)
def test_a_key_in_a_token_signs_and_is_trusted(
    name: str, token: dict[str, bytes], files: dict[str, bytes]
) -> None:
    made = Credential(token[name], signer(name), root_pem=ACME.root_pem)
    made.prove()
    signed = c2pa.sign(files["image/png"], "image/png", DEFINITION, made)

    found = c2pa.read(signed.data, "image/png", anchors=ACME.root_pem)
    assert (found.state, found.signer) == ("trusted", "Acme")


def test_a_key_is_found_by_its_id(token: dict[str, bytes]) -> None:
    Credential(token["es384"], signer("es384", label=None, key_id=b"\x02")).prove()


def test_another_key_of_the_token_is_found_by_proving_it(
    token: dict[str, bytes],
) -> None:
    other = ACME.chain_pem(ACME.certify(generate("es256").public_key()))
    with pytest.raises(KeyFileError, match="does not verify with the key"):
        Credential(other, signer("es256")).prove()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token": "nobody"}, r"'nobody'.*cannot be opened.*NoSuchToken"),
        ({"pin": "00000000"}, r"did not take the PIN"),
        ({"label": "nothing"}, r"has no such key.*'nothing'"),
        ({"label": None}, "expected one of them"),
        ({"algorithm": "hs256"}, "'hs256'"),
    ],
)
def test_what_is_wrong_is_told(
    change: dict[str, Any], message: str, token: dict[str, bytes]
) -> None:
    with pytest.raises(SigningError, match=message) as caught:
        signer("es256", **change)
    assert PIN not in str(caught.value)


def test_a_module_that_is_none_is_told(tmp_path: Path) -> None:
    from watermark.sign.pkcs11 import Pkcs11Signer

    with pytest.raises(SigningError, match="cannot be opened"):
        Pkcs11Signer(
            tmp_path / "none.so", token="acme", algorithm="es256", pin=PIN, label="x"
        )


def test_a_token_shows_no_pin_and_is_never_pickled(token: dict[str, bytes]) -> None:
    made = signer("es256", pin=lambda: PIN)

    assert repr(made) == "Pkcs11Signer('acme', es256)"
    assert made.pem is None
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(made)


def test_a_session_that_ended_is_opened_again(token: dict[str, bytes]) -> None:
    made = signer("es256")
    made._session.close()

    Credential(token["es256"], made).prove()


def test_threads_share_a_token(token: dict[str, bytes]) -> None:
    made = Credential(token["es256"], signer("es256"))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                made.prove()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_fork_is_told(token: dict[str, bytes]) -> None:
    made = signer("es256")
    made._process = -1  # as it is in a child
    with pytest.raises(SigningError, match="does not survive a fork"):
        made.sign(b"message")


def test_two_signers_share_a_login_and_one_may_end_it(token: dict[str, bytes]) -> None:
    one, two = signer("es256"), signer("ed25519")
    Credential(token["ed25519"], two).prove()
    one.close()

    Credential(token["ed25519"], two).prove()
