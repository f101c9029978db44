"""MarkLLM: run by the Python of its own environment, by `outside_answers`.

Texts are made by `generate_watermarked_text` and scored by `detect_watermark`, with the
package's own settings; only the key is set, and the length where that is a setting.
"""

from __future__ import annotations

import json
import math
import tempfile
from functools import lru_cache
from importlib import import_module, resources
from typing import Any

SCHEMES = (
    *("KGW", "Unigram", "SWEET", "EWD", "EXP"),
    *("UPV", "EXPEdit", "ITSEdit", "SIR", "XSIR"),
)
PACKAGES = ("markllm", "torch", "transformers")
KEYS = ("hash_key", "key")  # what a scheme's settings call its key
KEPT = 16  # schemes with their keys


class Toolkit:
    """One model, and a scheme of every key asked for."""

    def __init__(self, folder: str, length: int, sampling: dict[str, Any]) -> None:
        settings: Any = import_module("markllm.utils.transformers_config")
        transformers: Any = import_module("transformers")
        model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, padding_side="left"
        )
        self.length = length
        self.config = settings.TransformersConfig(
            model,
            self.tokenizer,
            vocab_size=model.config.vocab_size,
            device="cpu",
            min_new_tokens=length,
            max_new_tokens=length,
            **sampling,
        )
        self.scheme = lru_cache(KEPT)(self._scheme)

    def _scheme(self, name: str, key: int) -> Any:
        loader: Any = import_module("markllm.watermark.auto_watermark").AutoWatermark
        path = resources.files("markllm") / "config" / f"{name}.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings |= {place: key for place in KEYS if place in settings}
        if "sequence_length" in settings:
            settings["sequence_length"] = self.length
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(settings, file)
            file.flush()
            return loader.load(name, file.name, self.config)

    def mark(self, scheme: str, key: int, seed: int, prompt: str) -> dict[str, Any]:
        """A marked text, without its prompt."""
        import_module("torch").manual_seed(seed)
        text = self.scheme(scheme, key).generate_watermarked_text(prompt)
        ids = self.tokenizer(prompt)["input_ids"]
        before = self.tokenizer.decode(ids, skip_special_tokens=True)
        if not text.startswith(before):
            raise ValueError(f"found {text[:40]!r}, expected the prompt {before!r}")
        return {"thing": text[len(before) :]}

    def score(self, scheme: str, keys: list[int], things: list[str]) -> dict[str, Any]:
        """The detector's score of every text under every key, and its verdict."""
        found = [[self._score(scheme, key, text) for text in things] for key in keys]
        return {
            "scores": [[score for score, _ in row] for row in found],
            "accepted": [[accepted for _, accepted in row] for row in found],
        }

    def _score(
        self, scheme: str, key: int, text: str
    ) -> tuple[float | None, bool | None]:
        """Nulls where the detector cannot say, as of a text that is too short."""
        made = self.scheme(scheme, key)
        try:
            found = made.detect_watermark(text)
        except (ValueError, ArithmeticError, RuntimeError, IndexError):
            return None, None
        score = float(found["score"])
        accepted = bool(found["is_watermarked"])
        return (score, accepted) if math.isfinite(score) else (None, None)
