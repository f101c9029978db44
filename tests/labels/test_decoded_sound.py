"""Sounds that libsndfile wrote decode to the same samples with a label."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.labels.writing import LABEL, OTHER, read, write

soundfile: Any = pytest.importorskip("soundfile")

RATE = 48_000
FORMATS = {
    "WAV PCM_16": "audio/wav",
    "WAV FLOAT": "audio/wav",
    "WAVEX PCM_24": "audio/wav",
    "FLAC PCM_16": "audio/flac",
    "OGG VORBIS": "audio/ogg",
    "OGG OPUS": "audio/ogg",
    "MP3 MPEG_LAYER_III": "audio/mpeg",
}


def written(form: str) -> bytes:
    """Two seconds of noise in stereo, with a title."""
    kind, coding = form.split()
    noise = np.random.default_rng(5).standard_normal((2 * RATE, 2)) / 8
    data = io.BytesIO()
    with soundfile.SoundFile(
        data, "w", samplerate=RATE, channels=2, format=kind, subtype=coding
    ) as file:
        file.title = "A title"
        file.write(noise)
    return data.getvalue()


def decoded(data: bytes) -> tuple[NDArray[np.float64], str]:
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        return file.read(), file.title


@pytest.mark.parametrize("form", FORMATS)
def test_cn_14_samples_and_title_stay(form: str) -> None:
    data = written(form)
    samples, title = decoded(data)
    assert samples.shape[1] == 2
    assert title == "A title"
    once = write(data, FORMATS[form])
    for label, labelled in (
        (LABEL, once),
        (OTHER * 400, write(once, FORMATS[form], OTHER * 400, replace=True)),
    ):
        assert read(labelled, FORMATS[form]) == [label]
        again, title = decoded(labelled)
        assert np.array_equal(again, samples)
        assert title == "A title"
