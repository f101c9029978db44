"""Options: what the command line says, for every benchmark alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from watermark.errors import WeakKey
from watermark.keys import Key

MODELS = Path(__file__).parent / "models"
WORK = Path("build/bench")

T = TypeVar("T")


class Unavailable(Exception):
    """A benchmark cannot run here, because of what its text says is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Attributes are the command line's.

    Attributes:
        samples: how many, or None for the benchmark's own count.
        seed: of everything that is drawn.
        full: whether to use the counts that the issues state.
        work: where unfinished work lies.
        lm: folder of the language model.
        pipeline: folder of the diffusion pipeline.
        data: folder of public data that is not part of the project, or None.
        wheels: folder of unpacked packages of other engines, or None.
        only: names of the parts to run, or none: all.
        threads: of torch, or None for its own choice; one is faster on a busy machine.
        workers: processes, or None for one a core.
        suites: of the robustness benchmark, or none: all.
        schemes: ours that it measures, or none: all.
        peers: other people's that it measures, or none: all.
        console: for progress; never stdout.
    """

    samples: int | None = None
    seed: int = 0
    full: bool = False
    work: Path = WORK
    lm: Path = MODELS / "lm"
    pipeline: Path = MODELS / "diffusion"
    data: Path | None = None
    wheels: Path | None = None
    only: tuple[str, ...] = ()
    threads: int | None = None
    workers: int | None = None
    suites: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    console: Console = field(default_factory=lambda: Console(stderr=True))

    def count(self, few: int, full: int) -> int:
        """How many samples to take."""
        if self.samples is not None:
            return self.samples
        return full if self.full else few

    def chosen(self, parts: Iterable[str]) -> list[str]:
        """The parts to run, in their own order.

        Raises:
            Unavailable: there is no part of a name in `only`.
        """
        known = list(parts)
        unknown = sorted(set(self.only) - set(known))
        if unknown:
            raise Unavailable(
                f"no part {', '.join(unknown)}; expected some of {', '.join(known)}"
            )
        return [name for name in known if not self.only or name in self.only]

    def track(self, items: Iterable[T], what: str) -> Iterable[T]:
        """`items`, with a progress bar on the console."""
        return track(list(items), what, console=self.console)

    @contextmanager
    def threading(self, threads: int | None = None) -> Iterator[None]:
        """Within: torch with `threads`, or as many as the command line says."""
        import torch

        before, wanted = torch.get_num_threads(), threads or self.threads
        torch.set_num_threads(wanted or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def say(self, text: str) -> None:
        """A line of progress."""
        self.console.print(text, highlight=False, markup=False)


def weights_sha256(folder: Path) -> str:
    """SHA-256 over the weights and tokenizers of a model folder.

    Raises:
        Unavailable: there is no model, or a file of weights is not whole.
    """
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise Unavailable(
            f"no model in {folder.name}/ (expected a folder with *.safetensors, or the "
            "id of a model in the local cache of the hub)"
        )
    digest = hashlib.sha256()
    for path in files:
        _check_weights(path, path.relative_to(folder.parent))
    for path in [*files, *sorted(folder.rglob("tokenizer.json"))]:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _check_weights(path: Path, name: Path) -> None:
    """By the header, which says how long the file is."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise Unavailable(f"{name.as_posix()} is broken: {error}") from None


def seeded(*parts: object) -> bytes:
    """32 bytes that depend on `parts` alone."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()


def seeded_key(*parts: object) -> Key:
    """A key that depends on `parts` alone: for benchmarks only, anyone can guess it."""
    attempt = 0
    while True:
        try:
            return Key(seeded("key", *parts, attempt))
        except WeakKey:  # once in 10^9 draws
            attempt += 1
