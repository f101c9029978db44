"""``wm keys dev-ca``, ``lint`` and ``renew``: certificates to sign with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from watermark.cli import keys
from watermark.cli.options import (
    HomeOption,
    JsonOption,
    PassphraseOption,
    passphrase,
)
from watermark.cli.terminal import (
    EPILOG,
    Code,
    Failure,
    hint,
    say,
    title,
    warn,
    write_json,
)

KeyPassphrase = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="The passphrase of the key; by default from $WATERMARK_PASSPHRASE.",
    ),
]


@keys.app.command("dev-ca", epilog=EPILOG)
def dev_ca(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Gets key.pem, chain.pem and root.pem; made new."
        ),
    ],
    *,
    organisation: Annotated[
        str, typer.Option(metavar="NAME", help="The name that verifiers will see.")
    ],
    algorithm: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="es256, es384, es512, ps256, ps384, ps512, or ed25519: the smallest.",
        ),
    ] = "es256",
    days: Annotated[
        float,
        typer.Option(min=1 / 1440, max=366, help="How long the leaf can sign."),
    ] = 365,
    keep_authority: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the authority there, to issue more leaves; by default its "
            "private keys are dropped.",
        ),
    ] = None,
    passphrase_file: KeyPassphrase = None,
) -> None:
    """Make a development CA, and under it a certificate and key to sign with.

    For development and tests: strangers see `valid`, not `trusted`, unless they are
    given root.pem.
    """
    from watermark.sign.authority import Authority
    from watermark.sign.credential import Credential

    secret = passphrase(passphrase_file)
    authority = Authority.create(organisation)
    life = timedelta(days=days)
    credential = Credential.create_dev(
        folder,
        organisation,
        passphrase=secret,
        algorithm=algorithm,
        life=life,
        under=authority,
    )
    if keep_authority is not None:
        authority.save(keep_authority, passphrase=secret)
    title(f"Made a development certificate for {credential.organisation}")
    say("algorithm", credential.algorithm)
    say("leaf", f"{folder / 'chain.pem'}, SHA-256 {credential.fingerprint}")
    say("root", f"{folder / 'root.pem'}: who trusts it, trusts this certificate")
    say(
        "key",
        f"{folder / 'key.pem'}, " + ("encrypted" if secret else "mode 0600, plain"),
    )
    if keep_authority is not None:
        say("authority", f"{keep_authority}: whoever has it can sign as you")
    say("check", f"wm keys lint {folder / 'chain.pem'} --key {folder / 'key.pem'}")


@keys.app.command("lint", epilog=EPILOG)
def lint(
    cert: Annotated[
        Path, typer.Argument(metavar="CERT", help="A chain in PEM, leaf first.")
    ],
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The leaf's private key: is it the right one?"
        ),
    ] = None,
    anchors: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="PEM certificates that verifiers trust."),
    ] = None,
    as_json: JsonOption = False,
    passphrase_file: KeyPassphrase = None,
) -> None:
    """Say why a certificate cannot sign, or why strangers will distrust it.

    Exit code 20 if there is an error; warnings alone leave it at 0.
    """
    from watermark.sign.linter import lint as examine

    secret = passphrase(passphrase_file) if key is not None else None
    try:
        found = examine(
            _read(cert),
            key_pem=None if key is None else _read(key),
            passphrase=secret,
            anchors=None if anchors is None else _read(anchors),
        )
    except ValueError as error:
        raise Failure(f"{anchors} holds no PEM certificates: {error}") from error
    if as_json:
        write_json(
            [
                {name: getattr(finding, name) for name in finding.__slots__}
                for finding in found
            ]
        )
    else:
        for finding in found:
            title(f"{finding.level}: {finding.code}")
            say("where", finding.subject)
            say("found", finding.found)
            say("expected", finding.expected)
            say("do", finding.action)
    errors = sum(finding.level == "error" for finding in found)
    if errors:
        hint(f"{errors} of these stop signing")
        raise typer.Exit(Code.CONFIGURATION)
    if found:
        warn(f"{cert} can sign, but see above")
    elif not as_json:
        title(f"{cert} can sign: nothing is wrong with it")


@keys.app.command("renew", epilog=EPILOG)
def renew(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="With chain.pem, key.pem and, if at hand, root.pem."
        ),
    ],
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Sign with another certificate from now on. The old key is deleted.

    What the old one signed is still believed here. A key in FOLDER that is encrypted
    must have the home's own passphrase.
    """
    from watermark.home import Home
    from watermark.sign import rotation

    secret = passphrase(passphrase_file)
    place = Home.open(home, passphrase=secret).path / "credential"
    credential = rotation.rotate(place, folder, passphrase=secret)
    title(f"Signing as {credential.organisation}, with {credential.algorithm}")
    for entry in rotation.entries(place):
        say(entry.state, f"{entry.name}, until {entry.not_after:%Y-%m-%d %H:%M} UTC")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20)
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error}") from error
