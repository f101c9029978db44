"""`videoseal`: Video Seal 1.0 (arXiv:2412.09492), 256 bits in a picture or a frame.

The package (MIT) looks for its cards and attenuation in the working folder and fetches
its weights. Here the card is that of the installed package, and the weights are read
from a file that has to be there, as plain tensors.
"""

from __future__ import annotations

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

VARIABLE = "VIDEOSEAL_CHECKPOINT"
FILE = "y_256b_img.pth"
SOURCE = "https://dl.fbaipublicfiles.com/videoseal/y_256b_img.pth"


@dataclass(frozen=True, slots=True)
class VideoSeal:
    """The package's own model; it resizes, and so takes any picture."""

    model: Any
    name: str = "videoseal"
    bits: int = 256
    rate: int = 0
    least: int = 128
    most: int = 1 << 24

    def encode(self, content: NDArray[Any], bits: Bits) -> NDArray[Any]:
        """`content` with `bits`."""
        import torch

        message = torch.from_numpy(bits.astype(np.float32))[None]
        with torch.no_grad():
            made = self.model.embed(
                _batch(content), msgs=message, is_video=False, lowres_attenuation=True
            )["imgs_w"][0]
        values = made.clamp(0, 1).permute(1, 2, 0).cpu().numpy()
        rounded: NDArray[Any] = np.rint(values * 255).astype(np.uint8)
        return rounded

    def decode(self, content: NDArray[Any]) -> Any:
        """The signs of the extractor's logits; the first number is no bit."""
        import torch

        with torch.no_grad():
            found = self.model.detect(_batch(content), is_video=False)["preds"]
        return (found[0, 1:] > 0).cpu().numpy().reshape(-1)


def _batch(pixels: NDArray[Any]) -> Any:
    """float32 (1, 3, height, width) in [0, 1]."""
    import torch

    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def load() -> VideoSeal:
    """The codec, with weights that are on this machine.

    They are looked for at ``$VIDEOSEAL_CHECKPOINT``, then where the package puts them.

    Raises:
        MissingDependency: `videoseal` is not installed.
        MissingCodec: its weights are not there.
    """
    found = find_spec("videoseal")
    if found is None or not found.submodule_search_locations:
        raise MissingDependency("videoseal", "videoseal")
    file = Path(os.environ.get(VARIABLE) or Path("ckpts") / FILE)
    if not file.is_file():
        raise MissingCodec(
            f"videoseal: {file} is missing, and nothing is fetched here: put {SOURCE} "
            f"there, or name its place in ${VARIABLE}"
        )
    package = import_module("videoseal.utils.cfg")
    folder = Path(next(iter(found.submodule_search_locations)))
    config = package.OmegaConf.load(folder / "cards" / "videoseal_1.0.yaml")
    # Its file of attenuations is not in the wheel; jnd_1_1 is this object.
    config.args.attenuation = "none"
    model = package.setup_model(config, file)  # torch.load(..., weights_only=True)
    model.attenuation = package.JND(in_channels=1, out_channels=1)
    model.eval()
    return VideoSeal(model)
