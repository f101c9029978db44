"""Sounds to mark: recordings in a folder, or made on the spot."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

RATE = 16_000
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus")
EACH = 5  # pieces of one recording, at most
LOUD = 0.005  # root mean square of a piece that is no silence


def files(folder: Path) -> list[Path]:
    """The recordings in a folder, in an order that does not depend on the disk."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def recordings(folder: Path, seconds: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Pieces of the recordings in a folder: names, and mono at 16 kHz.

    A piece of the beginning is left out, where there are others: it is often silent.
    """
    import soundfile

    for path in files(folder):
        try:
            read, rate = soundfile.read(path, always_2d=True)
        except soundfile.LibsndfileError:
            continue
        common = math.gcd(rate, RATE)
        low = resample_poly(read.mean(1), RATE // common, rate // common)
        size = seconds * RATE
        pieces = [low[i : i + size] for i in range(0, len(low) - size + 1, size)]
        for i, piece in enumerate(pieces[1 : EACH + 1] or pieces):
            if math.sqrt(float(np.mean(piece * piece))) > LOUD:
                yield f"{path.stem}/{i}", piece


def music(seed: int, seconds: float = 10, rate: int = RATE) -> NDArray[np.float64]:
    """Notes of some partials over a faint coloured noise; the peak is 0.5.

    With a spectrum and gaps as music has them; float64 (seconds * rate,).
    """
    rng = np.random.default_rng(seed)
    n = int(seconds * rate)
    time = np.arange(n) / rate
    out = np.zeros(n)
    for start in np.arange(0, seconds, 0.25):
        pitch = 110 * 2 ** (rng.integers(0, 36) / 12)
        age = np.maximum(time - start, 0)
        envelope = np.where(time >= start, np.exp(-4 * age), 0)
        for partial in range(1, 12):
            if pitch * partial < 0.45 * rate:
                phase = rng.uniform(0, 2 * np.pi)
                wave = np.sin(2 * np.pi * pitch * partial * age + phase)
                out += envelope * wave / partial**1.5
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum /= 1 + np.fft.rfftfreq(n, 1 / rate) / 300
    noise = np.fft.irfft(spectrum, n)
    out += 0.05 * noise / noise.std() * out.std()
    return np.asarray(0.5 * out / np.abs(out).max(), np.float64)
