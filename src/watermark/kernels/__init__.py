"""Inner loops. Compiled when built; `reference` says the same in plain Python.

`BACKEND` names what runs: ``"cython"``, or ``"reference"`` where the package was built
with ``WATERMARK_PURE=1``. A compiled kernel that does not load is an error, never a
silent fallback.

Buffers are contiguous: token ids uint32, logits float32, masks uint16, weights and
values int32.
"""

from __future__ import annotations

from importlib.util import find_spec

from watermark.kernels.reference import Numbers

if find_spec("watermark.kernels._prf") is None:  # built with WATERMARK_PURE=1
    from watermark.kernels.reference import code_bits as code_bits
    from watermark.kernels.reference import context_state as context_state
    from watermark.kernels.reference import greenlist_bias as greenlist_bias
    from watermark.kernels.reference import greenlist_count as greenlist_count
    from watermark.kernels.reference import greenlist_mask as greenlist_mask
    from watermark.kernels.reference import gumbel_score as gumbel_score
    from watermark.kernels.reference import gumbel_select as gumbel_select
    from watermark.kernels.reference import pilot_search as pilot_search
    from watermark.kernels.reference import siphash128 as siphash128
    from watermark.kernels.reference import stream as stream
    from watermark.kernels.reference import trellis_decode as trellis_decode
    from watermark.kernels.reference import words as words

    BACKEND = "reference"
else:
    from watermark.kernels import _text
    from watermark.kernels._noise import code_bits as code_bits
    from watermark.kernels._noise import pilot_search as pilot_search
    from watermark.kernels._noise import trellis_decode as trellis_decode
    from watermark.kernels._prf import siphash128 as siphash128
    from watermark.kernels._prf import stream as stream
    from watermark.kernels._prf import words as words
    from watermark.kernels._text import context_state as context_state
    from watermark.kernels._text import greenlist_bias as greenlist_bias
    from watermark.kernels._text import greenlist_count as greenlist_count
    from watermark.kernels._text import greenlist_mask as greenlist_mask
    from watermark.kernels._text import gumbel_score as gumbel_score
    from watermark.kernels.reference import NOISE_HIGH, NOISE_LOW

    BACKEND = "cython"

    def gumbel_select(logits: Numbers, state: bytes, nonce: int) -> int:
        """The token that keyed Gumbel-max sampling chooses: see `reference`."""
        return _text.gumbel_select(logits, state, nonce, NOISE_LOW, NOISE_HIGH)
