"""``wm verify``: every layer of every file, and a verdict for each."""

from __future__ import annotations

import os
import stat
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from watermark.cli.options import (
    HomeOption,
    JsonOption,
    PassphraseOption,
    opened,
    passphrase,
)
from watermark.cli.terminal import (
    Code,
    Failure,
    error,
    hint,
    say,
    title,
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
    VerificationError,
)
from watermark.policy import Marked
from watermark.report import SCHEMA, Evidence, Report, Verdict

if TYPE_CHECKING:
    from watermark.assets.loading import Asset

STDIN = "-"

MEANING = {
    Verdict.MARKED: "a mark was found",
    Verdict.SIGNED: "no mark decides; a trusted signature or the ledger speaks for it",
    Verdict.INCONCLUSIVE: "what was looked at does not decide",
    Verdict.NO_EVIDENCE: "every layer was looked at; this does not mean human-made",
    Verdict.CONFLICT: "the layers contradict each other",
}
STYLES = {
    Verdict.MARKED: "bold green",
    Verdict.SIGNED: "bold cyan",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.NO_EVIDENCE: "bold",
    Verdict.CONFLICT: "bold red",
}
# By the code of a reason; codes that are not here explain themselves.
HELP = {
    "no-key": "--keys FILE or --home PATH with a key that could have marked it",
    "no-pipeline": "--pipeline DIR with the model that could have made the picture",
    "no-tokenizer": "--tokenizer DIR of the model that could have written the text",
    "not-invertible": "--pipeline DIR with a model that makes pictures of this size",
    "too-short": "a longer passage of the same text",
    "below-threshold": "a longer, or a less edited copy",
    "unreadable": "a whole copy of the file, of a type that wm knows",
    "untrusted-signer": "--trust PEM with the signer's root, if you trust it",
    "remote-manifest": "the manifest, fetched by you and put beside it as NAME.c2pa",
    "broken-signature": "the file as it was signed: this one was changed afterwards",
}


# What is wrong with the call and not with one input: it stops the command.
CALLERS = (
    OSError,
    HomeError,
    KeyFileError,
    MissingDependency,
    StoreError,
    TokenizerMismatch,
    UnsupportedPipeline,
)


class Effort(StrEnum):
    """How many looks at a picture."""

    quick = "quick"
    normal = "normal"


class FailOn(StrEnum):
    """What `--fail-on` can name."""

    marked = "marked"
    no_evidence = "no-evidence"


@dataclass(frozen=True, slots=True)
class Input:
    """Something to verify: a file, `STDIN` or a text, and what to call it."""

    name: str
    source: Path | str


@dataclass(frozen=True, slots=True)
class Unread:
    """An input without a report, and why."""

    name: str
    problem: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data, in place of a report."""
        return {"error": self.problem}


@dataclass(frozen=True, slots=True)
class Judge:
    """What is the same for every input: how to verify, and which p-value decides."""

    verify: Callable[[Asset], Report]
    max_fpr: float

    def __call__(self, item: Input) -> Report | Unread:
        """The report, or why there is none; a mistake of the caller's is raised."""
        try:
            asset = _load(item.source)
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
            help="The diffusers pipeline that could have made a picture: a local "
            "folder with safetensors. No code in it is run.",
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
            metavar="KEYFILE",
            help="Test for this key instead of the home's; can be repeated. Then no "
            "home is needed.",
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            metavar="PEM", help="Root certificates to trust instead of the home's own."
        ),
    ] = None,
    effort: Annotated[
        Effort, typer.Option(help="quick: one look at a picture; normal: up to three.")
    ] = Effort.normal,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(help="Exit with 10 or 11 if this is found.", show_default=False),
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
    the others are still verified. Nothing is fetched from a network.
    """
    if as_json and as_jsonl:
        raise Failure("expected one of --json and --jsonl", Code.USAGE)
    inputs = list(_inputs(files or [], text))
    single = len(files or [STDIN]) == 1 and not any(f.is_dir() for f in files or ())
    with _judge(
        keys, trust, tokenizer, pipeline, effort, home, passphrase_file
    ) as judge:
        outcome = Outcome(judge.max_fpr)
        collected = []
        for item, result in _examined(inputs, judge):
            outcome.add(result)
            if as_json:
                collected.append(_to_dict(item, result))
            elif as_jsonl:
                write_json(_to_dict(item, result), compact=True)
            elif isinstance(result, Report):
                _show(item, result)
    if as_json:
        write_json(collected[0] if single else collected)
    elif not as_jsonl:
        outcome.conclude()
    raise typer.Exit(outcome.code(fail_on))


# --- inputs --------------------------------------------------------------------------


def _inputs(files: Sequence[Path], text: str | None) -> Iterator[Input]:
    if (text is None) == (not files):
        raise Failure("expected files, folders or -, or else --text", Code.USAGE)
    if [str(file) for file in files].count(STDIN) > 1:
        raise Failure("stdin can be read only once: found - twice", Code.USAGE)
    if text is not None:
        yield Input("--text", text)
    for file in files:
        if not file.is_dir():
            yield Input(str(file), file)
            continue
        found = False
        for path in _within(file):
            found = True
            yield Input(str(path), path)
        if not found:  # or a gate would pass because it was pointed at nothing
            raise Failure(f"no files in {file}", Code.UNREADABLE)


def _within(folder: Path) -> Iterator[Path]:
    """The files below `folder`, in order of name; no links to folders are followed."""
    failed: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=failed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix != ".c2pa" and _is_file(path):
                yield path
    for problem in failed:  # reading it fails again, and is then told
        yield Path(problem.filename)


def _is_file(path: Path) -> bool:
    """False only for sockets and the like; what cannot be read is told later."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _load(source: Path | str) -> Asset:
    from watermark.assets.loading import load

    if isinstance(source, str):
        return load(source)
    if str(source) == STDIN:
        return _read(sys.stdin.buffer)
    if source.is_file():
        return load(source)
    with source.open("rb") as stream:  # a pipe, such as the shell's <(command)
        return _read(stream)


def _read(stream: BinaryIO) -> Asset:
    from watermark.assets import MEDIA_BYTES
    from watermark.assets.loading import Asset, load

    data = stream.read(MEDIA_BYTES + 1)
    if len(data) > MEDIA_BYTES:
        problem = f"the input is larger than {MEDIA_BYTES >> 20} MiB"
        return Asset(kind="unknown", problem=problem)
    return load(data)


# --- what to verify with -------------------------------------------------------------


@contextmanager
def _judge(
    keys: Sequence[Path] | None,
    trust: Path | None,
    tokenizer: Path | None,
    pipeline: Path | None,
    effort: Effort,
    home: Path | None,
    passphrase_file: Path | None,
) -> Iterator[Judge]:
    """What every input needs is read before the first, so that no mistake passes."""
    from watermark import api
    from watermark import home as homes
    from watermark.keys import Key
    from watermark.tokenizer import TextTokenizer

    secret = passphrase(passphrase_file)
    loaded = [Key.load(file, passphrase=secret) for file in keys or ()]
    options: dict[str, Any] = {
        "keys": loaded or None,
        "trust": None if trust is None else _anchors(trust),
        "tokenizer": None if tokenizer is None else TextTokenizer.of(tokenizer),
        "pipeline": None if pipeline is None else _inverter(pipeline),
        "effort": str(effort),
    }
    if loaded and home is None and not (homes.default_path() / "home.toml").exists():
        yield Judge(partial(api.verify, **options), Marked().max_fpr)
        return
    with opened(home, passphrase_file) as w:
        if loaded == []:
            w.home.key_records()
        if trust is None:
            options["trust"] = w.home.anchors
        yield Judge(partial(w.verify, **options), w.home.max_fpr)


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


def _inverter(folder: Path) -> Any:
    """The inverter of a pipeline from `folder`: no network, no pickle, no code."""
    if not (folder / "model_index.json").is_file():
        raise Failure(
            f"no pipeline at {folder}: expected a folder with a model_index.json, as "
            "save_pretrained writes it"
        )
    if code := next(folder.rglob("*.py"), None):
        raise Failure(f"{code} is code, which a pipeline must not bring along here")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import torch
        from transformers.utils import logging as words

        words.set_verbosity_error()
        words.disable_progress_bar()
        from diffusers import DiffusionPipeline
        from diffusers.utils import logging
    except ImportError as missing:
        raise MissingDependency("diffusers", "diffusion") from missing
    from watermark.invert.latents import Inverter

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipe = DiffusionPipeline.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except Exception as problem:  # diffusers raises a dozen types
        raise Failure(
            f"the pipeline in {folder} cannot be read: {problem}"
        ) from problem
    if torch.cuda.is_available():
        pipe.to("cuda")
    return Inverter(pipe)


# --- results -------------------------------------------------------------------------


class Outcome:
    """What all the results together come to."""

    def __init__(self, max_fpr: float) -> None:
        self._fires = Marked(max_fpr=max_fpr)
        self._verdicts = Counter[Verdict]()
        self._reasons = Counter[str]()
        self._marked = 0
        self._unreadable = 0

    def add(self, result: Report | Unread) -> None:
        """Count one result; one that is no report is told on stderr."""
        if isinstance(result, Unread):
            error(f"{result.name}: {result.problem}")
            self._unreadable += 1
            return
        self._verdicts[result.verdict] += 1
        self._reasons.update({reason.code for reason in result.reasons})
        # A second mark must not hide the first: CONFLICT counts where one fires.
        if result.verdict in (Verdict.MARKED, Verdict.CONFLICT):
            try:
                result.require(self._fires)
            except VerificationError:
                return
            self._marked += 1

    def code(self, fail_on: FailOn | None) -> Code:
        """The exit code: what `--fail-on` names goes before what was not read."""
        if fail_on is FailOn.marked and self._marked:
            return Code.MARKED
        if fail_on is FailOn.no_evidence and self._verdicts[Verdict.NO_EVIDENCE]:
            return Code.NO_EVIDENCE
        return Code.UNREADABLE if self._unreadable else Code.DONE

    def conclude(self) -> None:
        """What would help, and for several inputs how many had which verdict."""
        for code, count in self._reasons.items():
            if code in HELP:
                where = f"  ({count} inputs)" if count > 1 else ""
                hint(f"Would help: {HELP[code]}{where}")
        counts = [f"{self._verdicts[v]} {v}" for v in Verdict if self._verdicts[v]]
        if self._unreadable:
            counts.append(f"{self._unreadable} could not be read")
        total = self._verdicts.total() + self._unreadable
        if total > 1:
            hint(f"{total} inputs: {', '.join(counts)}")


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


def _to_dict(item: Input, result: Report | Unread) -> dict[str, Any]:
    # The keys of the second stand where they stood in the first.
    return {"schema": SCHEMA, "path": item.name} | result.to_dict()


def _show(item: Input, report: Report) -> None:
    title(item.name)
    say(str(report.verdict), MEANING[report.verdict], style=STYLES[report.verdict])
    for evidence in report.evidence:
        say(evidence.layer, _line(evidence))
    for record_id in report.record_ids:
        say("record", record_id)
    # Where something did decide, the reasons say what was not looked at.
    label = "left open" if report.verdict is Verdict.SIGNED else "because"
    for reason in report.reasons:
        say(label, f"{reason.code}: {reason.detail}")


def _line(evidence: Evidence) -> str:
    if evidence.layer == "manifest":
        by = f", signed by {evidence.key_id}" if evidence.key_id else ""
        parts = [evidence.state + by, *evidence.codes, evidence.detail]
    elif evidence.layer == "ledger":
        parts = [evidence.state, evidence.detail]
    else:
        p = "" if evidence.log10_p is None else f"log10 p {evidence.log10_p:.1f}"
        mark_id = f"mark id {evidence.payload.hex()}" if evidence.payload else ""
        names = f"{evidence.scheme}, key {evidence.key_id}"
        parts = [p, names, mark_id, *evidence.codes, evidence.detail]
    return "; ".join(part for part in parts if part)
