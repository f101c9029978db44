"""Marks in a text: every key record on every reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from watermark.assets.loading import Asset
from watermark.detectors import greenlist, gumbel
from watermark.errors import TokenizerMismatch
from watermark.keys import KeyRecord
from watermark.report import Reason
from watermark.verification.setting import Findings, Setting, mark_evidence

TEXT_DETECTORS = {"gumbel": gumbel, "greenlist": greenlist}


def text_marks(asset: Asset, setting: Setting, found: Findings) -> None:
    """Test every key record on every reading of a text."""
    records = [r for r in setting.records if r.scheme in TEXT_DETECTORS]
    if not records:
        found.open.append(Reason("no-key", "no key record of a text scheme is at hand"))
        return
    pairs = _readings(asset, records, setting)
    read = {record.test for record, _ in pairs}
    unread = [r for r in records if r.test not in read]
    if unread and not setting.given_tokenizer:
        found.open.append(
            Reason(
                "no-tokenizer",
                f"{len(unread)} key records could not be tested: a text mark lives in "
                "token ids. Name the tokenizer of the model that could have written "
                "this, or give the ids themselves",
            )
        )
    if not pairs:
        return
    seen: dict[str, int] = {}
    for record, ids in pairs:
        score = TEXT_DETECTORS[record.scheme].score(ids, record)
        found.evidence.append(mark_evidence(record, score, len(pairs), setting))
        seen[record.scheme] = max(seen.get(record.scheme, 0), score.n)
    # A scheme that is only there by default tells its power; one that is known to be
    # in use, or the default scheme itself, has to have it.
    in_use = {r.scheme for r in records if r.vocab_size is not None} | {"gumbel"}
    for scheme, n in seen.items():
        enough = TEXT_DETECTORS[scheme].ENOUGH
        detail = (
            f"{n} distinct contexts for {scheme}; about {enough} decide in 90 % of "
            "cases at 1 nat a token"
        )
        if n < enough and scheme in in_use:
            found.open.append(Reason("too-short", detail))
        else:
            found.power.append(Reason("power", detail))


def _readings(
    asset: Asset, records: Sequence[KeyRecord], setting: Setting
) -> list[tuple[KeyRecord, Any]]:
    """Each distinct test with the ids it applies to."""
    pairs: dict[tuple[Any, ...], tuple[KeyRecord, Any]] = {}
    if asset.tokens is not None:
        for record in records:
            pairs.setdefault(record.test, (record, asset.tokens))
        return list(pairs.values())
    for tokenizer in setting.tokenizers:
        usable = [r for r in records if r.tokenizer in (None, tokenizer.digest)]
        wanted = {r.tokenizer for r in records if r.tokenizer is not None}
        fits = tokenizer.digest in wanted or any(
            r.tokenizer is None and r.vocab_size is not None for r in records
        )
        if setting.given_tokenizer and wanted and not fits:
            names = ", ".join(sorted(digest[:12] for digest in wanted))
            raise TokenizerMismatch(
                f"the tokenizer given has digest {tokenizer.digest[:12]}, the key "
                f"records name {names}: its ids would mean nothing. Pass the tokenizer "
                "of the model that marked"
            )
        ids = np.asarray(tokenizer.encode(asset.text or ""), dtype=np.uint32)
        for record in usable:
            pairs.setdefault((*record.test, tokenizer.digest), (record, ids))
    return list(pairs.values())
