"""``wm verify``: every layer of every file, and a verdict for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from watermark.cli.inputs import STDIN, Input, load, named
from watermark.cli.options import (
    HomeOption,
    JsonOption,
    PassphraseOption,
    opened,
    passphrase,
)
from watermark.cli.results import FailOn, Outcome, Unread, show, to_dict
from watermark.cli.terminal import (
    Code,
    Failure,
    watched,
    write_json,
)
from watermark.errors import (
    HomeError,
    KeyFileError,
    MissingDependency,
    StoreError,
    TokenizerMismatch,
    UnsupportedPipeline,
    VocabularyMismatch,
)
from watermark.policy import Marked
from watermark.report import Report

if TYPE_CHECKING:
    from watermark.assets.loading import Asset

# What is wrong with the call and not with one input: it stops the command.
CALLERS = (
    OSError,
    HomeError,
    KeyFileError,
    MissingDependency,
    StoreError,
    TokenizerMismatch,
    UnsupportedPipeline,
    VocabularyMismatch,
)


class Effort(StrEnum):
    """How many looks at a picture, readings of a text."""

    quick = "quick"
    normal = "normal"
    thorough = "thorough"


@dataclass(frozen=True, slots=True)
class Judge:
    """What is the same for every input: how to verify, and which p-value decides."""

    verify: Callable[[Asset], Report]
    max_fpr: float

    def __call__(self, item: Input) -> Report | Unread:
        """The report, or why there is none; a mistake of the caller's is raised."""
        try:
            asset = load(item.source)
        except OSError as problem:
            return Unread(item.name, problem.strerror or str(problem))
        try:
            return self.verify(asset)
        except CALLERS:
            raise
        except Exception as bug:  # one input must not keep the others from a verdict
            return Unread(item.name, f"a bug in wm: {type(bug).__name__}: {bug}")


def verify(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE...",
            help="Files, folders (with all that is in them), or - for stdin.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="STRING", help="A text, instead of a file.")
    ] = None,
    pipeline: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The diffusers pipeline that could have made a picture, or the "
            "language model that could have written a text: a local folder with "
            "safetensors. No code in it is run.",
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The tokenizer that could have made a text: a folder with a "
            "tokenizer.json; by default all that were attached here.",
        ),
    ] = None,
    keys: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Test for this key instead of the home's: a key file, a TOML file of "
            "records, or the configuration of an engine that marks by itself. Can be "
            "repeated. Then no home is needed.",
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            metavar="PEM", help="Root certificates to trust instead of the home's own."
        ),
    ] = None,
    prompt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The prompt that a text was written to: what repeats it is no "
            "evidence.",
        ),
    ] = None,
    effort: Annotated[
        Effort,
        typer.Option(help="How many looks at a picture, readings of a text."),
    ] = Effort.normal,
    resolve: Annotated[
        bool,
        typer.Option(
            "--resolve",
            help="Ask the repositories of this home (wm repository) for manifests that "
            "it does not have. They see what a mark carries, never a file.",
        ),
    ] = False,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(help="Exit with 10 or 11 if this is found.", show_default=False),
    ] = None,
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="PNG",
            help="Where in a picture its mark is, written as a picture: white where it "
            "is, black where it was painted over. Of one file.",
        ),
    ] = None,
    as_json: JsonOption = False,
    as_jsonl: Annotated[
        bool, typer.Option("--jsonl", help="One line of JSON on stdout per file.")
    ] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Look at every layer of each file, and judge.

    MARKED, SIGNED, INCONCLUSIVE, NO_EVIDENCE or CONFLICT: never "human", never
    "authentic". A p-value is the chance that a file which was never marked with these
    keys scores as high; log10 p = -6 is one in a million.

    A damaged file is a verdict. One that cannot be read is an error (exit code 3), and
    the others are still verified. Nothing is fetched from a network, unless --resolve
    is given.
    """
    if as_json and as_jsonl:
        raise Failure("expected one of --json and --jsonl", Code.USAGE)
    inputs = list(named(files or [], text))
    single = len(files or [STDIN]) == 1 and not any(f.is_dir() for f in files or ())
    if map_file is not None and not single:
        raise Failure("expected one file with --map, found several", Code.USAGE)
    with _judge(
        keys, trust, tokenizer, pipeline, prompt, effort, resolve, home, passphrase_file
    ) as judge:
        outcome = Outcome(judge.max_fpr, thorough=effort is Effort.thorough)
        collected = []
        for item, result in _examined(inputs, judge):
            outcome.add(result)
            if as_json:
                collected.append(to_dict(item.name, result))
            elif as_jsonl:
                write_json(to_dict(item.name, result), compact=True)
            elif isinstance(result, Report):
                show(item.name, result)
            if map_file is not None and isinstance(result, Report):
                from watermark.cli.maps import write

                write(result, map_file)
    if as_json:
        write_json(collected[0] if single else collected)
    elif not as_jsonl:
        outcome.conclude()
    raise typer.Exit(outcome.code(fail_on))


# --- what to verify with -------------------------------------------------------------


@contextmanager
def _judge(
    keys: Sequence[Path] | None,
    trust: Path | None,
    tokenizer: Path | None,
    pipeline: Path | None,
    prompt: Path | None,
    effort: Effort,
    resolve: bool,
    home: Path | None,
    passphrase_file: Path | None,
) -> Iterator[Judge]:
    """What every input needs is read before the first, so that no mistake passes."""
    from watermark import home as homes
    from watermark.cli.models import model_at
    from watermark.keys import RingEntry
    from watermark.schemes.foreign.config import is_configuration, load_records
    from watermark.tokenizer import TextTokenizer
    from watermark.verifier import Options, Verifier

    secret = passphrase(passphrase_file)
    loaded = [
        load_records(file, passphrase=secret)
        if is_configuration(file)
        else [RingEntry.load(file, passphrase=secret)]
        for file in keys or ()
    ]
    options: Options = {
        "keys": loaded or None,
        "trust": None if trust is None else _anchors(trust),
        "tokenizer": None if tokenizer is None else TextTokenizer.of(tokenizer),
        "pipeline": None if pipeline is None else model_at(pipeline),
        "prompt": "" if prompt is None else _text(prompt),
        "effort": str(effort),
        "resolve": resolve,
    }
    if loaded and home is None and not (homes.default_path() / "home.toml").exists():
        yield Judge(Verifier(None, **options), Marked().max_fpr)
        return
    with opened(home, secret) as w:
        if trust is None:
            options["trust"] = w.home.anchors
        yield Judge(Verifier(w.home, **options), w.home.max_fpr)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise Failure(f"the prompt in {file} cannot be read: {problem}") from problem


def _anchors(file: Path) -> bytes:
    from cryptography import x509

    try:
        data = file.read_bytes()
        x509.load_pem_x509_certificates(data)
    except (OSError, ValueError) as problem:
        raise Failure(
            f"the trust anchors in {file} cannot be read ({problem}); expected PEM "
            "certificates"
        ) from problem
    return data


# --- one after the other --------------------------------------------------------------


def _examined(
    inputs: Sequence[Input], judge: Judge
) -> Iterator[tuple[Input, Report | Unread]]:
    """Each input with its result; a bar is shown only while one is being worked on."""
    if len(inputs) < 2 or not watched():
        yield from ((item, judge(item)) for item in inputs)
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task = bar.add_task("verifying", total=len(inputs))
    for item in inputs:
        with bar:
            result = judge(item)
            bar.advance(task)
        yield item, result
