"""What verification works with, and what it gathers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from watermark.detectors.base import LN10, Score
from watermark.detectors.foreign import proven
from watermark.keys import KeyRecord
from watermark.likelihood import Likelihood
from watermark.record import Mark
from watermark.report import Evidence, Reason
from watermark.schemes.foreign import FOREIGN
from watermark.schemes.learned import is_learned
from watermark.store.ledger import Ledger
from watermark.tokenizer import TextTokenizer
from watermark.verification.geometry import Candidate
from watermark.verification.registry import Files

if TYPE_CHECKING:  # it can open sockets: it is loaded where a caller asks for it
    from watermark.resolution.client import Resolver

# Looks at one picture: (steps of the inversion, share pi of the error budget). The test
# is p = min p_j / pi_j with the pi fixed beforehand, so stopping early costs nothing
# beyond the share. One evaluation of the model nearly always decides; what it leaves
# open is mostly open after eight.
LOOKS = {
    "quick": ((1, 0.5),),
    "normal": ((1, 0.5), (2, 0.25), (4, 0.125), (8, 0.125)),
    "thorough": ((1, 0.25), (2, 0.125), (4, 0.0625), (8, 0.03125), (25, 0.03125)),
}
# The share of what may have happened to the picture, for all geometries together, and
# the steps that each of them gets; by effort.
GEOMETRY = {"thorough": 0.5}
GEOMETRY_STEPS = 1


@runtime_checkable
class Inverter(Protocol):
    """From a picture to an estimate of its initial noise (`watermark.invert`)."""

    def noise(
        self, pixels: NDArray[np.uint8], *, steps: int, rounds: int = 1
    ) -> NDArray[np.float32]:
        """float32 of the shape that the pipeline draws for one sample."""
        ...


@runtime_checkable
class StartingInverter(Inverter, Protocol):
    """One whose pictures may have been begun below the highest level of noise."""

    starts: Sequence[float]

    def noise(
        self,
        pixels: NDArray[np.uint8],
        *,
        steps: int,
        rounds: int = 1,
        start: float = 1.0,
    ) -> NDArray[np.float32]:
        """As `Inverter.noise`, from the level `start`."""
        ...


@runtime_checkable
class Encoder(Protocol):
    """From a picture to what the autoencoder makes of it (`watermark.invert`)."""

    def latents(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 of the shape that the autoencoder decodes for one sample."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What verification has to work with.

    Attributes:
        records: key records that could have marked the asset.
        tokenizers: to read text with; each counts as a hypothesis.
        given_tokenizer: whether the caller named the tokenizer.
        prompt: of a text, where it is known: its contexts do not count.
        prompt_ids: the same as token ids.
        likelihood: of the language model that could have written the text, or None.
        inverter: of the pipeline that could have made the picture, or None.
        ledger: to look marks and digests up in, or None.
        resolver: asks other repositories what a mark leads to, where the ledger has no
            manifest; None: nobody is asked, and no socket opened.
        anchors: trusted root certificates, PEM.
        tsa_anchors: those of time-stamp authorities, PEM.
        revoked: ids of revoked keys.
        own: ids of the keys of one provider: two of them firing is no contradiction.
        max_fpr: a mark decides at or below this adjusted p-value.
        effort: a row of `LOOKS`; for texts, how many readings and looks.
        files: the nonces that the ledger has on file, kept from one asset to the next.
    """

    records: Sequence[KeyRecord] = ()
    tokenizers: Sequence[TextTokenizer] = ()
    given_tokenizer: bool = False
    prompt: str = ""
    prompt_ids: Sequence[int] = ()
    likelihood: Likelihood | None = None
    inverter: Inverter | None = None
    ledger: Ledger | None = None
    resolver: Resolver | None = None
    anchors: bytes = b""
    tsa_anchors: bytes = b""
    revoked: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    max_fpr: float = 1e-6
    effort: str = "normal"
    files: Files = field(default_factory=Files, repr=False, compare=False)


@dataclass(slots=True)
class Findings:
    """What was found so far, by what it means for the verdict."""

    evidence: list[Evidence] = field(default_factory=list)
    open: list[Reason] = field(default_factory=list)  # a layer could not be looked at
    conflicts: list[Reason] = field(default_factory=list)
    power: list[Reason] = field(default_factory=list)
    notes: list[Reason] = field(default_factory=list)  # told whatever the verdict
    # The picture as it lay when it was marked, where the mark tells.
    frames: dict[Evidence, Candidate] = field(default_factory=dict)


def mark_evidence(
    record: KeyRecord,
    score: Score,
    tests: float,
    setting: Setting,
    *,
    spans: tuple[tuple[int, int], ...] = (),
    detail: str = "",
) -> Evidence:
    """Evidence of one score, adjusted for `tests` tests.

    Args:
        record: what was tested.
        score: what its detector said.
        tests: how many tests this call made, over the share of the budget of this one.
        setting: whose keys are revoked.
        spans: where the mark lies.
        detail: which look this was.
    """
    hypotheses = math.ceil(score.hypotheses * tests - 1e-9)
    codes = ["key-revoked"] * (record.kid in setting.revoked)
    codes += ["copyable"] * is_learned(record.scheme)
    foreign = FOREIGN.get(record.scheme)
    if foreign is not None:
        codes += ["weak-key"] * foreign.weak(record)
        codes += ["small-state"] * (score.ln_p < proven(record, score.n))
    return Evidence(
        layer="mark",
        detector=record.scheme if foreign is None else foreign.engine,
        scheme=record.scheme,
        version=record.version,
        key_id=record.kid,
        log10_p=min(0.0, (score.ln_p + math.log(hypotheses)) / LN10),
        log10_p_raw=score.ln_p / LN10,
        hypotheses=hypotheses,
        n=score.n,
        payload=score.payload,
        spans=spans,
        codes=tuple(codes),
        detail=f"{detail}: " * bool(detail)
        + f"statistic {score.statistic:.2f} over {score.n} observations",
    )


def decides(evidence: Evidence, setting: Setting) -> bool:
    """Whether this is a mark at or below the threshold."""
    return (
        evidence.layer == "mark"
        and evidence.log10_p is not None
        and evidence.log10_p <= math.log10(setting.max_fpr)
    )


def binding(evidence: Evidence) -> str:
    """The soft-binding algorithm whose value this mark carries."""
    return Mark(
        scheme=evidence.scheme, version=evidence.version, key_id=evidence.key_id
    ).binding
