"""Likelihood: the model's own probabilities, whatever the window."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from watermark import likelihood
from watermark.errors import InvalidSignal
from watermark.likelihood import Likelihood


@pytest.fixture(scope="module")
def model() -> Any:
    path = Path(__file__).parent / "pipelines" / "tiny.py"
    spec = importlib.util.spec_from_file_location("tiny_models", path)
    assert spec is not None
    assert spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    return tiny.language_model(60)


def expected(model: Any, ids: list[int], temperature: float = 1.0) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].float()
    chances: torch.Tensor = (logits / temperature).softmax(-1)
    return chances


def test_probabilities_are_the_softmax_of_the_model(model: Any) -> None:
    ids = [5, 9, 1, 44, 9, 7]
    found = Likelihood(model, temperature=0.7).probabilities(np.array(ids, np.uint32))
    p = expected(model, ids, 0.7)
    want = [float(p[i, t]) for i, t in enumerate(ids[1:])]

    assert np.isnan(found[0])
    assert found[1:] == pytest.approx(want, rel=1e-5)


def test_a_prompt_is_context_and_is_not_returned(model: Any) -> None:
    reader = Likelihood(model, temperature=1.0, top_p=1.0)
    whole = reader.probabilities(np.array([5, 9, 1, 44, 9, 7], np.uint32))
    split = reader.probabilities(np.array([44, 9, 7], np.uint32), prompt=[5, 9, 1])

    assert split == pytest.approx(whole[3:], rel=1e-6)


def test_a_token_outside_the_nucleus_is_unknown(model: Any) -> None:
    ids = [5, 9, 1, 44, 9, 7]
    p = expected(model, ids)
    found = Likelihood(model, temperature=1.0, top_p=0.3).probabilities(
        np.array(ids, np.uint32)
    )
    for i, token in enumerate(ids[1:]):
        above = float(p[i][p[i] > p[i, token]].sum())
        assert np.isnan(found[i + 1]) == (above >= 0.3)


def test_long_texts_are_read_in_windows_that_cover_every_token(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = np.random.default_rng(0).integers(0, 60, 100).astype(np.uint32)
    monkeypatch.setattr(likelihood, "WINDOW", 16)
    found = Likelihood(model, temperature=1.0).probabilities(ids)
    nats = Likelihood(model, temperature=1.0).entropies(ids)

    assert np.isnan(found[0])
    assert np.isfinite(found[1:]).all()
    assert np.isfinite(nats[1:]).all()
    # Token 99 lies in the second half of the window that starts at 88.
    last = expected(model, ids[88:].tolist())[-1]
    assert found[99] == pytest.approx(float(last[ids[99]]), rel=1e-5)


@pytest.mark.parametrize("n", [0, 1, 2, 8, 9, 16, 17, 24, 25])
def test_every_length_is_covered(
    model: Any, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    monkeypatch.setattr(likelihood, "WINDOW", 16)
    found = Likelihood(model).probabilities(np.arange(n, dtype=np.uint32))

    assert found.shape == (n,)
    assert np.isfinite(found[1:]).all()


def test_ids_of_another_vocabulary_are_refused(model: Any) -> None:
    with pytest.raises(InvalidSignal, match="another tokenizer"):
        Likelihood(model).probabilities(np.array([1, 10**6], np.uint32))


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 1.5}])
def test_a_setting_that_cannot_be_is_refused(model: Any, wrong: Any) -> None:
    with pytest.raises(ValueError, match="expected a positive number"):
        Likelihood(model, **wrong)
