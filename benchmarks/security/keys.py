"""Keys that can be guessed: refused, all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from benchmarks.options import Options
from benchmarks.report import Cell, Part, Table, Target
from watermark.errors import WatermarkError
from watermark.keys import Key

# Numbers that other projects publish as the default of their key.
PUBLISHED = (15485863, 42, 0, 1, 2971215073)
GUESSES: dict[str, Callable[[], Key]] = {
    "a number": lambda: Key(15485863),  # type: ignore[arg-type]
    "a word": lambda: Key("correct horse battery staple"),  # type: ignore[arg-type]
    "16 bytes": lambda: Key(bytes(range(16))),
    "zeros": lambda: Key(bytes(32)),
    "one byte again and again": lambda: Key(b"\x5a" * 32),
    "two bytes in turn": lambda: Key(b"\x5a\xa5" * 16),
    "text of eight letters, repeated": lambda: Key(b"password" * 4),
    "0, 1, 2, ...": lambda: Key(bytes(range(32))),
    "255, 254, 253, ...": lambda: Key(bytes(range(255, 223, -1))),
    "steps of three": lambda: Key(bytes(3 * i % 256 for i in range(32))),
    "letters and digits": lambda: Key(b"abcdefghijklmnopqrstuvwxyz012345"),
    "hexadecimal digits, not decoded": lambda: Key(
        hashlib.sha256(b"").hexdigest()[:32].encode()
    ),
    **{
        f"{number}, padded": (lambda n=number: Key(n.to_bytes(32, "big")))  # type: ignore[misc]
        for number in PUBLISHED
    },
}


def measure(options: Options) -> Part:
    """Try each."""
    cells: list[tuple[Cell, ...]] = []
    for name, make in GUESSES.items():
        try:
            make()
        except (WatermarkError, TypeError, ValueError) as error:
            cells.append((name, True, type(error).__name__))
        else:
            cells.append((name, False, ""))
    refused = sum(bool(cell[1]) for cell in cells)
    kept = Key(hashlib.sha256(b"random bytes pass").digest())
    return Part(
        targets=(
            Target.at_least(
                "keys: guessable keys refused",
                refused / len(cells),
                1.0,
                f"{refused} of {len(cells)}; 32 random bytes pass ({kept.kid[:1]}...)",
            ),
        ),
        tables=(
            Table("Keys that can be guessed", ("key", "refused", "by"), tuple(cells)),
        ),
    )
