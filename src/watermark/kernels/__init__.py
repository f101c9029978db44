"""Inner loops. Compiled when built; `reference` says the same in plain Python.

`BACKEND` names what runs: ``"cython"``, or ``"reference"`` where the package was built
with ``WATERMARK_PURE=1``. A compiled kernel that does not load is an error, never a
silent fallback.

Buffers are contiguous: token ids uint32, logits float32, masks uint16, weights and
values int32, probabilities and sums of terms float64.
"""

from __future__ import annotations

from importlib.util import find_spec

from watermark.kernels.reference import Numbers
from watermark.kernels.reference_payload import payload_symbols as payload_symbols
from watermark.kernels.reference_sequences import FREE as FREE
from watermark.kernels.reference_sequences import Tensor as Tensor

if find_spec("watermark.kernels._prf") is None:  # built with WATERMARK_PURE=1
    from watermark.kernels.reference import context_state as context_state
    from watermark.kernels.reference import greenlist_bias as greenlist_bias
    from watermark.kernels.reference import greenlist_count as greenlist_count
    from watermark.kernels.reference import greenlist_mask as greenlist_mask
    from watermark.kernels.reference import gumbel_score as gumbel_score
    from watermark.kernels.reference import gumbel_select as gumbel_select
    from watermark.kernels.reference import gumbel_terms as gumbel_terms
    from watermark.kernels.reference import siphash128 as siphash128
    from watermark.kernels.reference import stream as stream
    from watermark.kernels.reference import token_words as token_words
    from watermark.kernels.reference import words as words
    from watermark.kernels.reference_engines import sglang_sums as sglang_sums
    from watermark.kernels.reference_engines import sglang_words as sglang_words
    from watermark.kernels.reference_engines import synthid_bits as synthid_bits
    from watermark.kernels.reference_engines import synthid_states as synthid_states
    from watermark.kernels.reference_engines import textseal_sums as textseal_sums
    from watermark.kernels.reference_engines import vllm_words as vllm_words
    from watermark.kernels.reference_engines import word_sums as word_sums
    from watermark.kernels.reference_mt import mt_mask as mt_mask
    from watermark.kernels.reference_mt import mt_members as mt_members
    from watermark.kernels.reference_mt import mt_permutation as mt_permutation
    from watermark.kernels.reference_mt import mt_words as mt_words
    from watermark.kernels.reference_noise import code_bits as code_bits
    from watermark.kernels.reference_noise import keyed_order as keyed_order
    from watermark.kernels.reference_noise import listed_search as listed_search
    from watermark.kernels.reference_noise import pilot_search as pilot_search
    from watermark.kernels.reference_noise import pilot_sums as pilot_sums
    from watermark.kernels.reference_noise import trellis_decode as trellis_decode
    from watermark.kernels.reference_noise import trellis_rivals as trellis_rivals
    from watermark.kernels.reference_payload import context_roles as context_roles
    from watermark.kernels.reference_payload import payload_presence as payload_presence
    from watermark.kernels.reference_payload import payload_score as payload_score
    from watermark.kernels.reference_payload import role_words as role_words
    from watermark.kernels.reference_payload import rs_decode as rs_decode
    from watermark.kernels.reference_payload import (
        trellis256_decode as trellis256_decode,
    )
    from watermark.kernels.reference_pixel import (
        pixel_coefficients as pixel_coefficients,
    )
    from watermark.kernels.reference_pixel import pixel_embed as pixel_embed
    from watermark.kernels.reference_sequences import Sequences as Sequences
    from watermark.kernels.reference_sequences import collision_nats as collision_nats
    from watermark.kernels.reference_tournament import (
        tournament_bits as tournament_bits,
    )
    from watermark.kernels.reference_tournament import (
        tournament_scale as tournament_scale,
    )

    BACKEND = "reference"
else:
    from watermark.kernels import _text
    from watermark.kernels._engines import sglang_sums as sglang_sums
    from watermark.kernels._engines import sglang_words as sglang_words
    from watermark.kernels._engines import synthid_bits as synthid_bits
    from watermark.kernels._engines import synthid_states as synthid_states
    from watermark.kernels._engines import textseal_sums as textseal_sums
    from watermark.kernels._engines import vllm_words as vllm_words
    from watermark.kernels._engines import word_sums as word_sums
    from watermark.kernels._greenlist import greenlist_bias as greenlist_bias
    from watermark.kernels._greenlist import greenlist_count as greenlist_count
    from watermark.kernels._greenlist import greenlist_mask as greenlist_mask
    from watermark.kernels._mt import mt_mask as mt_mask
    from watermark.kernels._mt import mt_members as mt_members
    from watermark.kernels._mt import mt_permutation as mt_permutation
    from watermark.kernels._mt import mt_words as mt_words
    from watermark.kernels._noise import code_bits as code_bits
    from watermark.kernels._noise import keyed_order as keyed_order
    from watermark.kernels._noise import listed_search as listed_search
    from watermark.kernels._noise import pilot_search as pilot_search
    from watermark.kernels._noise import pilot_sums as pilot_sums
    from watermark.kernels._noise import trellis_decode as trellis_decode
    from watermark.kernels._noise import trellis_rivals as trellis_rivals
    from watermark.kernels._payload import context_roles as context_roles
    from watermark.kernels._payload import payload_presence as payload_presence
    from watermark.kernels._payload import payload_score as payload_score
    from watermark.kernels._payload import role_words as role_words
    from watermark.kernels._payload import rs_decode as rs_decode
    from watermark.kernels._payload import trellis256_decode as trellis256_decode
    from watermark.kernels._pixel import pixel_coefficients as pixel_coefficients
    from watermark.kernels._pixel import pixel_embed as pixel_embed
    from watermark.kernels._prf import siphash128 as siphash128
    from watermark.kernels._prf import stream as stream
    from watermark.kernels._prf import words as words
    from watermark.kernels._sequences import Sequences as Sequences
    from watermark.kernels._text import collision_nats as collision_nats
    from watermark.kernels._text import context_state as context_state
    from watermark.kernels._text import gumbel_score as gumbel_score
    from watermark.kernels._text import gumbel_terms as gumbel_terms
    from watermark.kernels._text import token_words as token_words
    from watermark.kernels._tournament import tournament_bits as tournament_bits
    from watermark.kernels._tournament import tournament_scale as tournament_scale
    from watermark.kernels.reference import NOISE_HIGH, NOISE_LOW

    BACKEND = "cython"

    def gumbel_select(
        logits: Numbers, state: bytes, nonce: int, symbol: int = -1
    ) -> int:
        """The token that keyed Gumbel-max sampling chooses: see `reference`."""
        return _text.gumbel_select(logits, state, nonce, symbol, NOISE_LOW, NOISE_HIGH)
