"""`audioseal`: AudioSeal (arXiv:2401.17264), 16 bits in every two seconds of sound.

16 bits alone cannot have a p-value below 2**-16, so a sound is cut in pieces that have
bits of their own: from three seconds on they can decide. Its makers' loader unpickles
whatever a checkpoint holds; here the weights are read as plain tensors.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import MissingCodec, MissingDependency
from watermark.schemes.learned.codec import Bits

SOURCE = "https://huggingface.co/facebook/audioseal/resolve/main/{}_base.pth"


@dataclass(frozen=True, slots=True)
class AudioSeal:
    """Generator and detector of the package; `plain` keeps them from compiling."""

    generator: Any
    detector: Any
    plain: Any
    name: str = "audioseal"
    bits: int = 16
    rate: int = 16_000
    least: int = 16_000
    most: int = 32_000

    def encode(self, content: NDArray[Any], bits: Bits) -> NDArray[Any]:
        """`content` with `bits`."""
        import torch

        sound = torch.from_numpy(content)[None, None]
        said = torch.from_numpy(bits.astype(np.int64))[None]
        with torch.no_grad(), self.plain():
            added = self.generator.get_watermark(sound, message=said)[0, 0]
        made: NDArray[Any] = content + added.cpu().numpy()
        return made

    def decode(self, content: NDArray[Any]) -> Any:
        """The message; the detector's own word on whether there is one is not asked."""
        import torch

        with torch.no_grad(), self.plain():
            _, found = self.detector(torch.from_numpy(content)[None, None])
        return (found[0] > 0.5).cpu().numpy()


def load() -> AudioSeal:
    """The codec, with weights that are on this machine.

    Raises:
        MissingDependency: `audioseal` is not installed.
        MissingCodec: its weights are not there, or hold more than tensors.
    """
    if find_spec("audioseal") is None:
        raise MissingDependency("audioseal", "audioseal")
    files = {part: _file(part) for part in ("generator", "detector")}
    loader = import_module("audioseal.loader")
    made = {}
    for part, card, kind, create in (
        ("generator", "wm", loader.AudioSealWMConfig, loader.create_generator),
        (
            "detector",
            "detector",
            loader.AudioSealDetectorConfig,
            loader.create_detector,
        ),
    ):
        stored = loader.load_local_model_config(f"audioseal_{card}_16bits")
        options = dict(loader.OmegaConf.to_container(stored))
        options.pop("checkpoint")
        config = loader.AudioSeal.parse_config(options, config_type=kind, nbits=16)
        model = create(config, device="cpu")
        weights = _weights(files[part])
        weights = loader.convert_state_dict_for_scriptable_model(weights)
        loader.load_state_dict(model, state_dict=weights)
        made[part] = model.eval()
    compiling = import_module("audioseal.libs.moshi.utils.compile")
    return AudioSeal(**made, plain=compiling.no_compile)


def _file(part: str) -> Path:
    """Where the package keeps a file that it fetched, by the SHA-1 of its address."""
    source = SOURCE.format(part)
    address = source.removeprefix("https://huggingface.co")
    set_to = os.environ.get("AUDIOSEAL_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    folder = Path(set_to or Path("~/.cache").expanduser()) / "audioseal"
    kept = hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()[:24]
    for file in (folder / kept, folder / f"{part}_base.pth"):
        if file.is_file():
            return file
    raise MissingCodec(
        f"audioseal: {part}_base.pth is missing in {folder}, and nothing is fetched "
        f"here: put {source} there"
    )


def _weights(file: Path) -> Any:
    import torch

    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, and what a damaged file causes
        raise MissingCodec(
            f"audioseal: {file} cannot be read as plain tensors "
            f"({type(error).__name__}): unpack it where it may be trusted, and save "
            "its state dict alone"
        ) from error
    if "best_state" in stored:
        return stored["best_state"]["model"]
    return stored.get("model", stored)
