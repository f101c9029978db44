"""``wm calibrate``: how often a key fires on your own unmarked texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watermark.cli.inputs import load, named
from watermark.cli.options import HomeOption, JsonOption, PassphraseOption, passphrase
from watermark.cli.terminal import (
    Code,
    Failure,
    error,
    hint,
    row,
    say,
    title,
    warn,
    watched,
    write_json,
)

if TYPE_CHECKING:
    from watermark.calibration import Calibration, Document, Level
    from watermark.home import Home
    from watermark.keys import KeyRecord
    from watermark.tokenizer import TextTokenizer

SHOWN = 5  # of the documents with the smallest p-values


def calibrate(
    corpus: Annotated[
        Path,
        typer.Argument(
            metavar="CORPUS",
            help="A folder of texts that nobody marked, chosen without the key.",
        ),
    ],
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The tokenizer of the model that is marked: a folder with a "
            "tokenizer.json; by default the one that was attached here.",
        ),
    ] = None,
    scheme: Annotated[str, typer.Option(metavar="NAME", help="A text scheme.")] = (
        "gumbel"
    ),
    keys: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Random keys to compare with."),
    ] = 100,
    candidate: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="KEYFILE",
            help="Screen this key instead of the home's newest; can be repeated: the "
            "first that is kept ends the search.",
        ),
    ] = None,
    passage: Annotated[
        int,
        typer.Option(
            metavar="TOKENS", min=0, help="Cut longer documents into pieces of so many."
        ),
    ] = 0,
    plot: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw the rates of all keys.")
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Measure how often a key fires on unmarked texts, and say whether to keep it.

    p is the chance over the draw of our key; files that share text share their luck; p
    says nothing about text chosen with access to the key, the detector or marked text.

    A key is kept unless its rate is surely above a stated level. Exit code 20 if no key
    was kept: make another with wm keys rotate, and calibrate that.
    """
    from watermark.calibration import DETECTORS, screen
    from watermark.keys import Key

    if scheme not in DETECTORS:
        raise Failure(
            f"no text scheme {scheme!r}, expected one of {', '.join(DETECTORS)}",
            Code.USAGE,
        )
    if not corpus.is_dir():
        raise Failure(f"{corpus} is no folder: expected one with texts", Code.USAGE)
    if plot is not None:
        _figure()  # before an hour's work, not after it
    secret = passphrase(passphrase_file)
    chosen = _Chosen.of(home, secret, tokenizer, candidate or (), scheme)
    read = _Corpus.read(corpus, chosen.tokenizer, passage)
    try:
        found = screen(
            chosen.records,
            read.documents,
            others=[Key.generate() for _ in range(keys)],
            track=_tracked,
        )
    except ValueError as problem:
        raise Failure(f"{corpus}: {problem}", Code.UNREADABLE) from problem
    if plot is not None:
        _draw(found[-1], plot)
    if as_json:
        write_json([calibration.to_dict() for calibration in found])
    else:
        for calibration in found:
            _show(calibration)
    if not found[-1].kept:
        raise typer.Exit(Code.CONFIGURATION)
    raise typer.Exit(Code.UNREADABLE if read.unread else Code.DONE)


# --- what is measured ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The key records to measure, and what reads the texts."""

    records: Sequence[KeyRecord]
    tokenizer: TextTokenizer

    @classmethod
    def of(
        cls,
        path: Path | None,
        secret: str | None,
        folder: Path | None,
        candidates: Sequence[Path],
        scheme: str,
    ) -> _Chosen:
        from watermark.home import Home
        from watermark.keys import RingEntry
        from watermark.schemes import SCHEMES
        from watermark.tokenizer import TextTokenizer

        given = None if folder is None else TextTokenizer.of(folder)
        loaded = [RingEntry.load(file, passphrase=secret) for file in candidates]
        if given is not None and loaded:  # then no home is needed
            records = [SCHEMES[scheme].record(e.key, epoch=e.epoch) for e in loaded]
            return cls(records, given)
        opened = Home.open(path, passphrase=secret)
        used = given or _attached(opened)
        deployed = _deployed(opened, scheme, used.digest)
        if not loaded:
            return cls([deployed], used)
        return cls(
            [
                replace(deployed, kid=e.key.kid, key=e.key, epoch=e.epoch)
                for e in loaded
            ],
            used,
        )


def _attached(home: Home) -> TextTokenizer:
    found = list(home.tokenizers())
    if len(found) != 1:
        raise Failure(
            f"{len(found)} tokenizers were attached in this home: name one with "
            "--tokenizer DIR"
        )
    return found[0]


def _deployed(home: Home, scheme: str, digest: str) -> KeyRecord:
    """What the newest key marks with now, under this tokenizer if it says so."""
    newest = home.ring.newest
    fitting = [
        record
        for record in home.key_records()
        if (record.kid, record.epoch, record.scheme)
        == (newest.key.kid, newest.epoch, scheme)
        and record.tokenizer in (None, digest)
    ]
    if not fitting:
        raise Failure(
            f"key {newest.key.kid} has no record of {scheme!r} for this tokenizer: it "
            "was attached with another. Name that with --tokenizer DIR"
        )
    # A record that names the tokenizer says more than the default.
    return max(fitting, key=lambda record: record.tokenizer is not None)


@dataclass(frozen=True, slots=True)
class _Corpus:
    """The texts of a folder, and how many files were not read."""

    documents: Sequence[Document]
    unread: int

    @classmethod
    def read(cls, folder: Path, tokenizer: TextTokenizer, passage: int) -> _Corpus:
        from watermark.errors import InvalidSignal

        documents: list[Document] = []
        others = unread = 0
        for item in named([folder], None):
            try:
                asset = load(item.source)
                if asset.kind == "text" and asset.text is not None:
                    ids = tokenizer.encode(asset.text)
                    documents += _pieces(item.name, ids, passage)
                else:
                    others += 1
            except (OSError, InvalidSignal) as problem:
                error(f"{item.name}: {problem}")
                unread += 1
        if others:
            warn(f"{others} files in {folder} are no UTF-8 text: left out")
        if not documents:
            raise Failure(f"no texts in {folder}", Code.UNREADABLE)
        return cls(documents, unread)


def _pieces(name: str, ids: Sequence[int], passage: int) -> Iterator[Document]:
    import numpy as np

    from watermark.calibration import Document

    tokens = np.asarray(ids, dtype=np.uint32)
    if not 0 < passage < tokens.size:
        yield Document(name=name, tokens=tokens)
        return
    for start in range(0, tokens.size - passage + 1, passage):  # the rest is too short
        piece = tokens[start : start + passage]
        yield Document(name=f"{name} [{start}:{start + passage}]", tokens=piece)


def _tracked(records: Sequence[KeyRecord]) -> Iterable[KeyRecord]:
    if not watched():
        return records
    from rich.console import Console
    from rich.progress import track

    return track(records, "calibrating", console=Console(stderr=True), transient=True)


# --- what is shown -------------------------------------------------------------------


def _show(found: Calibration) -> None:
    from watermark.calibration import LUCK
    from watermark.rates import CONFIDENCE

    record = found.record
    verdict = "KEEP" if found.kept else "DO NOT KEEP"
    title(f"{verdict} key {record.kid} ({record.scheme}, epoch {record.epoch})")
    left = [
        f"{count} {why} left out"
        for count, why in ((found.copies, "copies"), (found.untestable, "too short"))
        if count
    ]
    counts = f"{found.levels[0].documents}, {found.tokens} tokens"
    say("documents", "; ".join([counts, *left]))
    row(
        f"{'LEVEL':<7}",
        f"{'HITS':>6}",
        f"{'RATE':>8}",
        f"{f'{CONFIDENCE:.0%} INTERVAL':<19}",
        f"{f'MEAN OF {found.others} KEYS':<29}",
        f"{'SPREAD':>6}",
        "AS BAD",
    )
    for level in found.levels:
        row(*_cells(level))
    for level in found.levels:
        if level.documents < level.needed:
            hint(
                f"At {level.level:g} the corpus shows no more than the intervals say: "
                f"{level.needed} documents without a hit would show the level"
            )
    _explain(found)
    say("meaning", LUCK)


def _cells(level: Level) -> list[str]:
    low, high = level.interval
    cells = [
        f"{level.level:<7g}",
        f"{level.hits:>6}",
        f"{level.rate:>8.2g}",
        f"{f'{low:.2g} to {high:.2g}':<19}",
    ]
    if not level.others:
        return cells
    below, above = level.mean_interval
    spread = "-" if level.spread != level.spread else f"{level.spread:.1f}x"
    return [
        *cells,
        f"{f'{level.mean:.2g} ({below:.2g} to {above:.2g})':<29}",
        f"{spread:>6}",
        f"{level.as_bad:.0%}",
    ]


def _explain(found: Calibration) -> None:
    for worst in found.worst[:SHOWN]:
        say("smallest p", f"1e{worst.log10_p:.1f}  {worst.name}  ({worst.n} scored)")
    if found.suspects:
        names = ", ".join(f.name for f in found.suspects[:SHOWN])
        warn(f"hardly unmarked, and to be taken out of the corpus: {names}")
    if not found.others:
        say("price", "unknown: compare with other keys (--keys N)")
        return
    if any(level.mean_interval[0] > level.level for level in found.levels):
        warn("the mean over keys is above its level: please report this")
    kept = f"{found.others_kept} of {found.others} other keys would be kept"
    if found.factor is None:
        say("price", f"unknown: {kept}")
    else:
        say(
            "price",
            f"{kept}: if you replace keys that are not, p of the one that is can be "
            f"too small by a factor of at most {found.factor:.2f}",
        )


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise Failure("--plot needs matplotlib: pip install matplotlib") from missing
    return Figure(figsize=(6.4, 4.0), layout="constrained")


def _draw(found: Calibration, path: Path) -> None:
    """One column for each level: the other keys, this key's interval, the level."""
    figure = _figure()
    axes = figure.subplots()
    least = 0.5 / found.levels[0].documents  # where zero hits are drawn
    for column, level in enumerate(found.levels):
        rates = [max(hits / level.documents, least) for hits in level.others]
        places = [
            column + 0.5 * (i / max(len(rates) - 1, 1) - 0.5) for i in range(len(rates))
        ]
        low, high = (max(end, least) for end in level.interval)
        axes.plot(places, rates, ".", color="0.6", label="" if column else "other keys")
        axes.plot([column, column], [low, high], color="C0", linewidth=1.5)
        label = "" if column else f"{found.record.kid}, 95 % interval"
        axes.plot([column], [max(level.rate, least)], "D", color="C0", label=label)
        label = "" if column else "stated level"
        axes.hlines(level.level, column - 0.4, column + 0.4, color="C3", label=label)
    axes.set_yscale("log")
    axes.set_xticks(range(len(found.levels)), [f"{x.level:g}" for x in found.levels])
    axes.set_xlabel("stated level")
    axes.set_ylabel(f"share of {found.levels[0].documents} documents (lowest: none)")
    axes.legend(fontsize=8)
    figure.savefig(path, format="png", dpi=150)
