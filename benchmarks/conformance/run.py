"""``python -m benchmarks sign``: speed, size, memory, threads and tampering."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.conformance import changes, speed
from benchmarks.conformance.containers import picture
from benchmarks.conformance.signing import RECORD, TEXT
from benchmarks.conformance.tampering import FULL, SLOW, STRIDE, Outcome
from benchmarks.options import Options
from benchmarks.report import Part, Result, Table, Target
from watermark.assets import text_fingerprint
from watermark.record import Mark, Record
from watermark.sign import c2pa, claims, text
from watermark.sign.credential import Credential

THREADS = 8
WARM = 100  # signatures before memory is looked at: what is made once
MINIMAL, DEFAULT = 2300, 3300  # bytes
FLAT = 2.0  # MiB; a leak of 3 KB a signature would be 6 in 2,000
MARK = Mark(scheme="gumbel", version=1, key_id="k", mark_id=b"\0\1")


def run(options: Options) -> Result:
    """All parts, or those in `only`.

    Raises:
        Unavailable: there is no part of a name in `only`.
    """
    return Result.of(
        "sign",
        [PARTS[name](options) for name in options.chosen(PARTS)],
        seed=options.seed,
    )


def _speed(options: Options) -> Part:
    found = speed.measured(options.count(30, 200))
    ours = found["ours"].median
    same, defaults = found["same settings"].median, found["defaults"].median
    rows = tuple(
        (name, 1e3 * t.low, 1e3 * t.median, 1e3 * t.high, ours / t.median)
        for name, t in found.items()
    )
    table = Table(
        "A PNG of 512 x 512, signed and read back",
        ("writer", "ms, quartile", "ms, median", "ms, quartile", "ours / this"),
        rows,
        "Processor time of one thread, all writers in turn. `same settings`: without "
        "thumbnail, verified by reading the finished file, as ours is. `not read "
        "back`: what it wrote is not looked at.",
    )
    targets = (
        Target.at_most("time beside bare c2pa-python, same settings", ours / same, 1.3),
        Target.at_least("times faster than its defaults", defaults / ours, 10),
    )
    return Part(targets=targets, tables=(table,))


def _sizes(options: Options) -> Part:
    """Ed25519, before encoding, without a time-stamp."""
    least = Record(kind="text", provider="Acme", system="acme/1")
    records = {"minimal": least, "default": _usual(), "everything": RECORD}
    with _credential("ed25519") as credential:
        rows = []
        for name, record in records.items():
            definition = claims.definition(record)
            if name == "minimal":
                definition["assertions"] = definition["assertions"][:1]
            signed = text.sign(TEXT, definition, credential, carrier="wrapper")
            rows.append((name, len(signed.manifest), len(signed.data) - len(TEXT)))
    table = Table(
        "Manifest of a text, Ed25519, two certificates",
        ("record", "bytes of the manifest", "bytes of its wrapper"),
        tuple(rows),
        "minimal: the created action and the hash alone. default: what `embed` writes. "
        "everything: fingerprint of a picture, provider, filings.",
    )
    targets = (
        Target.at_most("bytes of a minimal text manifest", rows[0][1], MINIMAL),
        Target.at_most("bytes of a default text manifest", rows[1][1], DEFAULT),
    )
    return Part(targets=targets, tables=(table,))


def _usual() -> Record:
    """As the adapter of transformers makes it, with a message of 16 bits."""
    return Record(
        kind="text",
        provider="Acme",
        system="transformers/LlamaForCausalLM",
        model="lighthouse",
        marks=(MARK,),
        fingerprint=text_fingerprint.fingerprint(TEXT.decode()),
    )


def _memory(options: Options) -> Part:
    count, png = options.count(300, 2000), picture("PNG", (64, 64))
    before = 0.0
    with _credential() as credential:
        for done in options.track(range(WARM + count), "memory"):
            if done == WARM:
                before = _resident()
            _sign(png, credential)
        grown = _resident() - before
    note = f"MiB after {count} signatures"
    return Part(targets=(Target.at_most("resident memory grown", grown, FLAT, note),))


def _threads(options: Options) -> Part:
    count, png = options.count(20, 250), picture("PNG", (64, 64))
    with _credential() as credential, ThreadPoolExecutor(THREADS) as pool:

        def some(_: int) -> int:
            return sum(_sign(png, credential) for _ in range(count))

        signed = sum(pool.map(some, range(THREADS)))
    wrong = THREADS * count - signed
    note = f"{THREADS} threads, {count} files each"
    return Part(targets=(Target.at_most("files not signed", wrong, 0, note),))


def _flips(options: Options) -> Part:
    stride = 1 if options.full else options.samples or STRIDE
    found, new, reused = changes.flips(options, stride)
    targets = [_none_trusted(f"bits of {name}", one) for name, one in found.items()]
    table = _states("Single bits flipped", found)
    return Part(
        parameters={"every bit": "yes" if stride == 1 else f"one in {stride}"},
        targets=tuple(targets),
        tables=(table,),
        new=new,
        reused=reused,
    )


def _corruptions(options: Options) -> Part:
    found, new, reused = changes.corruptions(options, options.count(1000, FULL))
    return Part(
        targets=(
            _none_trusted("damaged files", found),
            Target.at_most("slowest reading", found.slowest, SLOW, "s"),
        ),
        tables=(_states("Damaged files", {"all formats": found}),),
        new=new,
        reused=reused,
    )


def _none_trusted(name: str, outcome: Outcome) -> Target:
    return Target.at_most(
        f"{name}: trusted or raised",
        len(outcome.wrong),
        0,
        f"of {sum(outcome.states.values())}"
        + "".join(f"; {line}" for line in outcome.wrong[:3]),
    )


def _states(title: str, found: dict[str, Outcome]) -> Table:
    names = ("trusted", "valid", "invalid", "none", "remote")
    return Table(
        title,
        ("file", *names, "slowest, s"),
        tuple(
            (name, *(one.states[state] for state in names), one.slowest)
            for name, one in found.items()
        ),
        "trusted: only bytes changed that nobody signs: padding, and boxes around.",
    )


@contextmanager
def _credential(algorithm: str = "es256") -> Iterator[Credential]:
    """A development credential, in a folder that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        yield Credential.create_dev(Path(folder) / "c", "Acme", algorithm=algorithm)


def _sign(png: bytes, credential: Credential) -> int:
    definition = claims.definition(RECORD)
    signed = c2pa.sign(png, "image/png", definition, credential)
    return int(signed.manifest in signed.data)


def _resident() -> float:
    """Resident memory of this process, MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise OSError("no VmRSS in /proc/self/status")


PARTS: dict[str, Callable[[Options], Part]] = {
    "speed": _speed,
    "sizes": _sizes,
    "memory": _memory,
    "threads": _threads,
    "flips": _flips,
    "corruptions": _corruptions,
}
