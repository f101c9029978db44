"""Every layer of a finished file read back: what was not read back was not written."""

from __future__ import annotations

import io

from watermark import verification
from watermark.assets.loading import Asset
from watermark.labelling import Job
from watermark.labels import containers, explicit, iptc
from watermark.labels.regimes import LAYERS, Level
from watermark.schemes.learned import is_learned
from watermark.sign.stamps import When


def read_back(job: Job, data: bytes, *, signed: bool, timestamp: When) -> None:
    """Enter every layer by what the finished file holds.

    Args:
        job: what was written.
        data: the file, signed.
        signed: whether it has a manifest, which was read back when it was signed.
        timestamp: what became of the time-stamp.

    Raises:
        LabelError: a required layer is not there, or there are too few.
    """
    account = job.account
    _marks(job, data)
    _explicit(job, data)
    _label(job, data)
    _kept_marks(job, data)
    if account.needs.level("consent") is not Level.OFF:
        why = "a person who is shown or heard has to agree: yours to ask"
        account.enter("consent", "outside", why)
    if not account.has("iptc"):
        there = iptc.is_there(data, job.media_type, job.record)
        account.settle("iptc", there, "the XMP that was read back says something else")
    if signed:
        account.enter("manifest", "verified", "signed, and read back")
    _timestamp(job, timestamp)
    account.enter("ledger", "placed", _kept(job))
    if account.needs.level("notice") is not Level.OFF:
        account.enter("notice", "declared", f"show this with it: {job.ui_hint}")
    account.check()
    account.layers.sort(key=lambda each: LAYERS.index(each.name))


def _marks(job: Job, data: bytes) -> None:
    """A mark that is there after all that was written, by the way `verify` goes."""
    marks = [mark for mark in job.record.marks if mark.coverage > 0]
    if not marks:
        return
    is_text = job.record.kind == "text"
    asset = Asset(
        kind=job.record.kind,
        media_type=job.media_type,
        data=data,
        text=data.decode() if is_text else None,
    )
    wanted = {(mark.key_id, mark.scheme) for mark in marks}
    setting = verification.Setting(
        records=[r for r in job.home.key_records() if (r.kid, r.scheme) in wanted],
        tokenizers=list(job.home.tokenizers()) if is_text else [],
        own=frozenset(mark.key_id for mark in marks),
        max_fpr=job.home.max_fpr,
    )
    found = {(e.scheme, e.payload or b"") for e in verification.marks(asset, setting)}
    seen = [mark for mark in marks if (mark.scheme, mark.mark_id) in found]
    names = "; ".join(f"{mark.scheme}, key {mark.key_id}" for mark in seen or marks)
    if seen:
        job.account.enter("watermark", "verified", names)
    elif any(
        mark.scheme in ("pixel", "wave") or is_learned(mark.scheme) for mark in marks
    ):
        job.account.lack("watermark", "the mark did not survive what came after it")
    else:
        more = "found again with the pipeline or by a longer text"
        job.account.enter("watermark", "placed", f"{names}: {more}")


def _explicit(job: Job, data: bytes) -> None:
    if job.wish is None:
        return
    there = explicit.is_there(data, job.media_type, job.form, job.wish)
    asked = job.order.explicit is True
    if not there:
        problem = "it was put in, but cannot be read back"
        job.account.lack("explicit", problem, asked=asked)
        return
    said = job.wish.sound if job.form == "audio" else job.wish.wording
    job.account.enter("explicit", "verified", said)


def _label(job: Job, data: bytes) -> None:
    needs = job.account.needs
    if not job.label:
        if job.form == "text" and "cn" in needs.members:
            why = "carrier_not_standardised: plain text has no metadata"
            job.account.enter("label", "exempt", why)
        return
    is_text = job.record.kind == "text"
    found = containers.read(io.BytesIO(data), job.carrier)
    job.account.settle(
        "label",
        found == [job.label],
        f"{len(found)} read back, expected the one that was written"
        + (": choose another carrier= for the manifest" if is_text else ""),
        f"ProduceID {job.record.record_id}",
    )


def _kept_marks(job: Job, data: bytes) -> None:
    """That a label which was there is there still, or was our own."""
    if job.account.has("keep-marks"):
        return
    detail = "no label was there"
    if job.before:
        detail = "our own label was there, and was written anew"
        if not job.label:
            detail = "the label that was there stays"
            after = containers.read(io.BytesIO(data), job.carrier)
            if after != job.before:
                job.account.lack("keep-marks", "the label that was there is lost")
                return
    more = "a manifest that was there is kept as the parent's"
    job.account.settle("keep-marks", True, "", f"{detail}; {more}")


def _timestamp(job: Job, timestamp: When) -> None:
    if timestamp == "deferred":
        job.account.enter("timestamp", "deferred", "stamp it later with `wm stamp`")
        return
    job.account.settle("timestamp", timestamp == "now", "there is none")


def _kept(job: Job) -> str:
    days = job.account.needs.retention_days
    return f"to be kept {days} days at least" if days else "no time is prescribed"
