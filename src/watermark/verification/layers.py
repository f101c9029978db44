"""The looks of every layer, one after the other: the best of each key is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from watermark.detectors.base import LN10
from watermark.detectors.signs import CANDIDATES, PAYLOAD_LOG10_P
from watermark.errors import InvalidSignal, UnsupportedPipeline
from watermark.keys import KeyRecord
from watermark.report import Evidence, Reason
from watermark.schemes.base import option
from watermark.schemes.learned import is_learned
from watermark.schemes.signs import MARK_ID_BYTES, NONCE_BYTES
from watermark.verification import learned
from watermark.verification.looks import Layer, Look, Seen
from watermark.verification.registry import mark_ids
from watermark.verification.setting import (
    Findings,
    Setting,
    binding,
    decides,
    mark_evidence,
)

Content = TypeVar("Content")
# The best evidence of each key record, by its `test`, and what was seen in that look.
Best = dict[tuple[Any, ...], tuple[Evidence, Seen]]


@dataclass(frozen=True, slots=True)
class Layers(Generic[Content]):
    """The layers of a medium.

    Attributes:
        looks: of each scheme, in the order in which they are looked at.
        needs: of each scheme that a pipeline has to be named for, what it is needed
            for.
    """

    looks: Mapping[str, Layer[Content]]
    needs: Mapping[str, str]


def look_at(
    content: Content, layers: Layers[Content], setting: Setting, found: Findings
) -> list[str]:
    """Test every key record on the layer of its scheme; which of ours were looked at.

    Every layer is looked at, so that marks of two providers are seen in whatever layers
    they lie; each key record of a layer is one test. Learned marks are layers where
    there is a key record of one.
    """
    looks = {**layers.looks, **learned.layers(content, setting)}
    records = {r.test: r for r in setting.records if r.scheme in looks}
    if not records:
        names = ", ".join(looks)
        found.open.append(Reason("no-key", f"no key record of {names} is at hand"))
        return []
    looked: list[str] = []
    decided: list[Evidence] = []
    for scheme, layer in looks.items():
        own = [r for r in records.values() if r.scheme == scheme]
        if own and setting.inverter is None and scheme in layers.needs:
            reason = Reason("no-pipeline", layers.needs[scheme])
            if reason.code not in {each.code for each in found.open}:
                found.open.append(reason)
            continue
        files = setting.files.of(own, setting.ledger)
        own = _at_hand(own, files, found)
        if is_learned(scheme):
            own = learned.at_hand(own, found)
        if not own:
            continue
        best: Best = {}
        try:
            for look in layer(content, setting, files):
                if isinstance(look, Reason):
                    found.notes.append(look)
                    continue
                _test(look, own, len(records), setting, best)
                if any(decides(evidence, setting) for evidence, _ in best.values()):
                    break
            if is_learned(scheme):
                found.power.append(learned.power(scheme))
            else:
                looked.append(scheme)
        except learned.TROUBLE as error:
            found.open.append(learned.untold(scheme, error))
        except (InvalidSignal, UnsupportedPipeline, RuntimeError, ValueError) as error:
            # The size is the content's choice; a size the model refuses is content.
            # What earlier looks saw still counts.
            text = f"{scheme}: {type(error).__name__}: {str(error)[:200]}"
            code = "not-invertible" if scheme in layers.needs else "too-small"
            found.open.append(Reason(code, text))
        for evidence, seen in best.values():
            if seen.where is not None and evidence.payload:
                cells, z = seen.where.map(evidence.payload)
                evidence = replace(evidence, map=cells, map_z=z)
            found.evidence.append(evidence)
            if seen.frame is not None:
                found.frames[evidence] = seen.frame
            if decides(evidence, setting) and not is_learned(scheme):
                decided.append(evidence)
    _tell_faint(decided, setting, found)
    return looked


def _at_hand(
    records: Sequence[KeyRecord], files: Mapping[Any, Any], found: Findings
) -> list[KeyRecord]:
    """The records that can be tested: of a registry's, those with nonces on file."""
    listed = [r for r in records if option(r.parameters, "registry")]
    absent = [r for r in listed if r.test not in files]
    if absent:
        found.open.append(
            Reason(
                "no-registry",
                f"marks of {len(absent)} key records are found by nonces that "
                "their provider's ledger has on file, and none are at hand: verify "
                "in the provider's home",
            )
        )
    return [r for r in records if r not in absent]


def _tell_faint(decided: Sequence[Evidence], setting: Setting, found: Findings) -> None:
    """Say so where a key's marks are all too faint for their id to be read."""
    read = {evidence.key_id for evidence in decided if evidence.payload}
    if setting.ledger and any(e.key_id not in read for e in decided):
        found.notes.append(
            Reason(
                "content-not-compared",
                "the mark is too faint for its id to be read: which record it "
                "leads to is not known",
            )
        )


def _test(
    look: Look,
    records: Sequence[KeyRecord],
    tests: int,
    setting: Setting,
    best: Best,
) -> None:
    """Keep the best evidence of each record in `best`, with what its look saw."""
    for record in records:
        seen = look.score(record)
        evidence = mark_evidence(record, seen.score, tests / look.share, setting)
        evidence = replace(
            evidence,
            payload=_read(evidence, seen, record, setting),
            detail=f"{evidence.detail}, {seen.told or look.name}",
            codes=(*evidence.codes, *["other-geometry"] * look.changed),
        )
        before = best.get(record.test)
        if before is None or (evidence.log10_p or 0.0) < (before[0].log10_p or 0.0):
            best[record.test] = evidence, seen


def _read(
    evidence: Evidence, seen: Seen, record: KeyRecord, setting: Setting
) -> bytes | None:
    """The mark id: read beyond doubt; or the likeliest that the ledger knows.

    A mark that decides may be too faint for every byte of its id to be sure. The id
    that fits best is then right or any of 2**64: that a wrong one is on file has
    probability 2**-64 for each that is. Where it is not on file, the mark's nonce is,
    and the few records that have it are told apart by how well their ids agree.
    """
    decoded, ledger = seen.score.decoded, setting.ledger
    if evidence.payload is not None or not ledger or not decides(evidence, setting):
        return evidence.payload
    known = decoded is not None and len(decoded) == MARK_ID_BYTES
    if known and ledger.by_binding(binding(evidence), decoded or b""):
        return decoded
    if seen.where is None:
        return None
    nonce = seen.where.nonce.to_bytes(NONCE_BYTES, "little")
    on_file = mark_ids(record, ledger, nonce)
    fits = sorted((seen.where.ln_p(mark_id), mark_id) for mark_id in on_file)
    # The nonce may be the one of some candidates whose data fits best.
    tried = CANDIDATES * len(fits)
    if fits and fits[0][0] + math.log(tried) <= PAYLOAD_LOG10_P * LN10:
        return fits[0][1]
    return None
