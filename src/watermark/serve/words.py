"""What a report says, in words: for people, and no finer than they may know.

Whoever may ask a detector as often as they like can remove a mark by watching its
numbers. Without a token a report is therefore coarse: what was found in each layer, by
the threshold that decides, and no number, place or detail from which to climb. That a
mark is there but too weak is such a detail, and so is the verdict that follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

SCHEMA = "watermark.publicreport/1"

MEANING = {
    "MARKED": "A mark was found in the content itself. All of it, a part of it, or "
    "what it was made from came from a system that holds the key, unless the mark was "
    "copied or forged.",
    "SIGNED": "No mark decides, but there is more to go by: a manifest signed by "
    "somebody who is trusted here, or an entry in the provider's own ledger. What they "
    "say of its origin stands below.",
    "INCONCLUSIVE": "What was looked at does not decide.",
    "NO_EVIDENCE": "Every layer that is checked here was looked at, and nothing was "
    "found that decides. This does not say who or what made it.",
    "CONFLICT": "What was found contradicts itself.",
}
REASONS = {
    "too-short": "It is too short, or repeats itself too much, to hold enough of a "
    "mark. A longer passage would help.",
    "below-threshold": "There is a trace of a mark, too weak to decide. A longer or a "
    "less edited copy would help.",
    "altered-characters": "Hidden or look-alike characters were found; it was read a "
    "second time without them.",
    "no-key": "No key is here that could have marked it.",
    "no-tokenizer": "No tokenizer is here of a model that could have written it.",
    "no-pipeline": "Some marks can be seen only with the model that made the picture, "
    "which is not here.",
    "no-detector": "There is no detector here for marks in this kind of content.",
    "first-frame": "The picture moves, and only its first frame was looked at.",
    "many-records": "The mark leads to more records than can be told apart here.",
    "no-registry": "Some keys have nonces on file, of which none are here.",
    "unreadable": "It cannot be read: a damaged file, or a type not known here.",
    "not-invertible": "The model cannot be run backwards for this content.",
    "too-small": "It is small: the whole, or a larger copy, may hold a mark that this "
    "part does not.",
    "untrusted-signer": "Its manifest is signed by somebody whom nobody here vouches "
    "for.",
    "expired-signer": "The certificate of its manifest has expired, and no time stamp "
    "says when it was signed.",
    "remote-manifest": "It only points to a manifest elsewhere; nothing is fetched.",
    "broken-signature": "Its manifest does not fit: the content or the manifest was "
    "changed after it was signed.",
    "two-keys": "Marks of two providers were found.",
    "captured-but-marked": "Its manifest says that a camera took it, but a mark of "
    "generated content was found.",
    "other-mark": "Its manifest names another mark than the one that was found.",
    "other-content": "The record that the mark leads to is of something that looks "
    "different: it was edited in parts since, or the mark was carried over.",
    "content-not-compared": "It could not be compared with what was recorded: it was "
    "cut, turned or burnt out, its mark is faint, or nothing was recorded to compare.",
    "key-revoked": "Only revoked keys fire: somebody else may have forged the mark.",
    "no-codec": "A mark of another maker's engine was not looked for: it is not "
    "installed here.",
    "codec-failed": "A mark of another maker's engine could not be looked for.",
    "copyable": "A mark fires that anybody could have copied from another file.",
    "weak-key": "Only keys fire that anybody can know: anybody could have put the mark "
    "there.",
    "two-manifests": "Its manifest is not the one that its mark leads to: one of them "
    "is not of this content.",
    "manifest-refused": "The manifest on file is not the one that its name says.",
    "mark-not-seen": "The manifest on file names a mark that was not found, or not "
    "looked for.",
    "entry-unsigned": "The ledger has an entry for it that its log has not signed yet; "
    "it counts as not there.",
    "same-words": "Its words are those of the text that was signed.",
    "other-words": "Its words are not all those of the text that was recorded: it was "
    "edited or added to since.",
    "other-model": "The language model that is here has another vocabulary.",
    "pixels-only": "These are pixels; the file itself may hold a manifest.",
    "label-unproven": "A label says that it is generated, and no trusted signature "
    "covers the label: anybody can write one.",
    "label-changed": "The values of its label are not those that were signed.",
    "label-unreadable": "The file cannot be read to where labels stand.",
    "several-labels": "It has more than one label.",
}
# Of these the detail is told to all: it names signers, and nothing that was measured.
NAMING = frozenset({"two-manifests", "untrusted-signer", "expired-signer"})
# A second step beside the threshold that decides: told with a token only. The power of
# the detectors is told where nothing was found, and not where a weak mark was.
WEAK = "below-threshold"
GRADED = frozenset({WEAK, "power"})
MAX_NAME, MAX_SENTENCE = 200, 500  # characters: whoever signs chooses their name
CAUTION = (
    "A p-value is the chance, over the draw of our key, that content made without any "
    "knowledge of the key looks so marked. Contents that share passages share their "
    "luck. It says nothing about content made with access to the key, to a detector, "
    "or to marked content."
)
STATES = {
    ("mark", "found"): "found",
    ("mark", "not-found"): "looked for, and not found",
    ("mark", "not-looked-at"): "not looked for",
    ("manifest", "trusted"): "signed, by somebody trusted here",
    ("manifest", "valid"): "signed, by somebody who is not known here",
    ("manifest", "invalid"): "there, but it does not hold",
    ("manifest", "none"): "none in the content",
    ("manifest", "remote"): "elsewhere; it was not fetched",
    ("manifest", "recovered"): "removed from the content, and found again by the mark",
    ("label", "present"): "says that this is generated",
    ("label", "broken"): "there, but not as it was signed",
    ("label", "unreadable"): "there, but it cannot be read",
    ("ledger", "logged"): "a record of it is on file",
    ("ledger", "none"): "nothing on file",
}
MOST_TENTHS = 9  # from there on a p-value is one that anything has
_SCALE = ((12, "trillion"), (9, "billion"), (6, "million"), (3, "thousand"))


def public(report: dict[str, Any], max_fpr: float) -> dict[str, Any]:
    """What of a report anybody may see.

    Args:
        report: of `Report.to_dict`.
        max_fpr: the p-value that decides.

    Returns:
        ``verdict``, ``kind``, ``sha256``, ``record_ids``, ``reasons`` (each ``code``
        and ``detail``), and in ``layers`` what was found: of the mark one object, of
        the others a list. No p-value, mark id, place, or detail of a detector.
    """
    layers: dict[str, Any] = {"mark": {"state": mark_state(report, max_fpr)}}
    fired = [e for e in report["evidence"] if fires(e, max_fpr)]
    if fired:
        layers["mark"]["schemes"] = sorted({e["scheme"] for e in fired})
    for evidence in report["evidence"]:
        layer = evidence["layer"]
        if layer == "mark":
            continue
        told = {"state": evidence["state"]}
        if layer == "manifest":
            told |= {"signer": evidence["key_id"][:MAX_NAME]}
            told |= {"codes": evidence["codes"]}
            told |= {"manifest_id": evidence["detail"]}
        listed = layers.setdefault(layer, [])
        if told not in listed:
            listed.append(told)
    return {
        "schema": SCHEMA,
        "verdict": verdict(report),
        "kind": report["kind"],
        "sha256": report["sha256"],
        "record_ids": report["record_ids"],
        "reasons": [
            {"code": code, "detail": detail}
            for code, detail in reasons(report, full=False)
        ],
        "layers": layers,
    }


def verdict(report: dict[str, Any]) -> str:
    """The verdict that anybody may see.

    A mark that is too weak to decide makes a full report INCONCLUSIVE where it would be
    NO_EVIDENCE without it. Here both are NO_EVIDENCE: nothing was found that decides.
    """
    codes = [reason["code"] for reason in report["reasons"]]
    # What is open stands first, a weak mark at its end (`watermark.verification`).
    if report["verdict"] == "INCONCLUSIVE" and codes[:1] == [WEAK]:
        return "NO_EVIDENCE"
    return str(report["verdict"])


def fires(evidence: dict[str, Any], max_fpr: float) -> bool:
    """Whether this is a mark at or below the threshold."""
    log10_p = evidence["log10_p"]
    if evidence["layer"] != "mark" or log10_p is None:
        return False
    return float(log10_p) <= math.log10(max_fpr)


def mark_state(report: dict[str, Any], max_fpr: float) -> str:
    """``found``, ``not-found``, or ``not-looked-at``."""
    marks = [e for e in report["evidence"] if e["layer"] == "mark"]
    if any(fires(e, max_fpr) for e in marks):
        return "found"
    return "not-found" if marks else "not-looked-at"


def state(layer: str, name: str) -> str:
    """What was found in a layer, in words; the state itself where none are known."""
    return STATES.get((layer, name), name)


def reasons(report: dict[str, Any], *, full: bool) -> Iterator[tuple[str, str]]:
    """Code and sentence of each reason; the detector's own words only where `full`."""
    seen = set(() if full else GRADED)
    for reason in report["reasons"]:
        code = reason["code"]
        if code in seen and not full:
            continue
        seen.add(code)
        more = full or code in NAMING
        detail = reason["detail"][: None if full else MAX_SENTENCE] if more else ""
        yield code, " ".join(part for part in (REASONS.get(code, ""), detail) if part)


def chance(log10_p: float) -> str:
    """A p-value in words.

    >>> chance(-6.2), chance(-0.3), chance(-31.7)
    ('at most 1 in 1 million', 'about 5 in 10', 'at most 1 in 10^31')
    >>> chance(0.0)
    'nothing unusual'
    """
    if log10_p > -1:
        tenths = max(1, round(10 ** (log10_p + 1)))
        return f"about {tenths} in 10" if tenths < MOST_TENTHS else "nothing unusual"
    zeros = math.floor(-log10_p)
    for power, name in _SCALE:
        if power <= zeros < power + 3:
            return f"at most 1 in {10 ** (zeros - power)} {name}"
    return f"at most 1 in {10**zeros if zeros < 3 else f'10^{zeros}'}"
