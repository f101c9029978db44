"""`trustmark`: TrustMark (arXiv:2311.18297), variant Q, 100 raw bits in a picture.

Its error-correcting code is off: the bits are the key's, and each of them counts. The
package (MIT) fetches its weights where they are missing; here they have to be there
before it is asked, and to be those that it names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from watermark.errors import CodecError, MissingCodec, MissingDependency
from watermark.schemes.learned.codec import Bits

FILES = ("trustmark_Q.yaml", "encoder_Q.ckpt", "decoder_Q.ckpt")


@dataclass(frozen=True, slots=True)
class TrustMark:
    """The package's own object; it resizes, and so takes any picture."""

    model: Any
    name: str = "trustmark"
    bits: int = 100
    rate: int = 0
    least: int = 128
    most: int = 1 << 26

    def encode(self, content: NDArray[Any], bits: Bits) -> NDArray[Any]:
        """`content` with `bits`."""
        said = "".join(str(int(bit)) for bit in bits)
        made = self.model.encode(Image.fromarray(content), said, MODE="binary")
        return np.asarray(made.convert("RGB"))

    def decode(self, content: NDArray[Any]) -> Any:
        """The bits before error correction; it has some for every picture."""
        said = self.model.decode(Image.fromarray(content), MODE="binary")[0]
        return [int(digit) for digit in said]


def load() -> TrustMark:
    """The codec, with weights that are on this machine.

    Raises:
        MissingDependency: `trustmark` is not installed.
        MissingCodec: its weights are not where it looks for them, or others are there.
        CodecError: it cannot read them.
    """
    found = find_spec("trustmark")
    if found is None or not found.submodule_search_locations:
        raise MissingDependency("trustmark", "trustmark")
    folder = Path(next(iter(found.submodule_search_locations))) / "models"
    absent = [name for name in FILES if not (folder / name).is_file()]
    if absent:
        raise MissingCodec(
            f"trustmark: {', '.join(absent)} missing in {folder}, and nothing is "
            "fetched here: have the package fetch them once, by calling "
            "trustmark.TrustMark(model_type='Q', loadRemover=False)"
        )
    package = import_module("trustmark.trustmark")
    for name in FILES:  # with any other file its loader opens a connection
        seen = hashlib.md5((folder / name).read_bytes(), usedforsecurity=False)
        if seen.hexdigest() != package.MODEL_CHECKSUMS[name]:
            raise MissingCodec(
                f"trustmark: {folder / name} is not the file that this version of the "
                "package names: remove it, and have the package fetch it again"
            )
    model = package.TrustMark(
        use_ECC=False,
        verbose=False,
        model_type="Q",
        device="cpu",
        loadRemover=False,
    )
    if model.encoder is None or model.decoder is None:
        raise CodecError(f"trustmark: the weights in {folder} cannot be read")
    return TrustMark(model)
