"""Explicit mark, label and XMP of one file, in this order."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from watermark.assets import DamagedAsset, audio, fingerprint, image
from watermark.assets import text as text_asset
from watermark.errors import LabelError, UnsupportedFormat
from watermark.labelling import Job
from watermark.labels import (
    aigc,
    containers,
    explicit,
    explicit_text,
    iptc,
    provider,
    regimes,
    security,
    unmarked,
)
from watermark.labels.regimes import Level
from watermark.record import Record

TEXTS = ("text", "markdown", "page")
_REFUSED = (LabelError, UnsupportedFormat, DamagedAsset, ValueError)


def write(job: Job, data: bytes) -> bytes:
    """The file with all that comes before the manifest.

    Raises:
        LabelError: a required layer cannot be written, with its clause.
    """
    _check_before(job, data)
    _check_watermark(job, data)
    return _described(job, _labelled(job, _explicit(job, data)))


def _check_before(job: Job, data: bytes) -> None:
    """That no label of somebody else's would be lost."""
    needs, account = job.account.needs, job.account
    if job.carrier not in containers.SUPPORTED:
        return
    try:
        job.before = containers.read(io.BytesIO(data), job.carrier)
    except DamagedAsset as error:
        account.lack("keep-marks", f"whether there is a label is not known: {error}")
        return
    if needs.level("label") is Level.OFF:  # none is written: what is there stays
        return
    found = [aigc.parse(raw).label for raw in job.before]
    producers = {each.content_producer if each else "" for each in found}
    others = sorted(producers - {job.settings.producer})
    if others:
        account.lack(
            "keep-marks",
            f"this file has a label of {others[0][:60]!r} already, and ours would take "
            "its place: pass it on with propagate, or embed what your model gave",
        )


def _check_watermark(job: Job, data: bytes) -> None:
    """That there is a mark, or need not be."""
    if any(mark.coverage > 0 for mark in job.record.marks):
        return
    if job.form in TEXTS and "eu" in job.account.needs.members:
        # By the tokenizer that counts most: the exemption is never stretched.
        text = data.decode()
        counts = [len(each.encode(text)) for each in job.home.tokenizers()]
        if counts and max(counts) < regimes.VERY_SHORT:
            job.account.enter(
                "watermark", "exempt", f"very short ({max(counts)} tokens)"
            )
            return
    job.account.lack(
        "watermark",
        f"this {job.record.kind} carries no mark: generate it with a pipeline that is "
        "attached, or let embed mark it (mark=True; not every format can be)",
    )


def _explicit(job: Job, data: bytes) -> bytes:
    needs, order = job.account.needs, job.order
    level = needs.level("explicit")
    if order.explicit == "placed":
        job.account.enter("explicit", "declared", "in the content, the caller says")
        return data
    if order.explicit is False:
        _leave_out(job)
        return data
    if order.explicit is None and level < Level.ON:
        return data
    try:
        _check_suffix(job)
        wish = explicit.Wish(
            needs.wording, needs.corner, needs.sound, _notice(job, data)
        )
        marked = explicit.write(data, job.media_type, job.form, wish)
    except _REFUSED as error:
        problem = str(error)
        if isinstance(error, LabelError):  # the clause is told with the layer
            problem = problem.removesuffix(f" ({error.clause})")
        job.account.lack("explicit", problem, asked=order.explicit is True)
        return data
    job.wish = wish
    job.record = _of_content(job.record, marked, job.form)
    return marked


def _leave_out(job: Job) -> None:
    """Without its mark a file goes out on the user's request only (Art. 9)."""
    needs, request = job.account.needs, job.order.unmarked
    if not needs.needs("explicit"):
        if request is not None:  # and no recipient is kept without a reason
            raise LabelError(
                unmarked.CLAUSE,
                f"explicit: {', '.join(needs.regimes)} asks for no mark in this file, "
                "so that none is waived: leave unmarked= out",
            )
        job.account.lack("explicit", "left out, as the caller asked")
        return
    if firm := needs.rows["explicit"].firm:
        raise LabelError(
            "; ".join(firm),
            "explicit: this law lets no file out without its mark, on nobody's request",
        )
    if request is None:
        raise LabelError(
            f"{unmarked.CLAUSE}; {needs.clause('explicit')}",
            "explicit: without its mark a file goes out only on the user's request, "
            "pass unmarked=UnmarkedRequest(recipient=..., agreement=...)",
        )
    request.check()
    job.account.enter("explicit", "exempt", f"left out on request ({unmarked.CLAUSE})")


def _check_suffix(job: Job) -> None:
    """That a line at both ends does not break what reads this text."""
    if job.form == "text" and job.suffix not in explicit_text.SUFFIXES:
        raise LabelError(
            explicit_text.CLAUSE,
            f"a line of words would break a {job.suffix} file: say it in a comment, or "
            "where it is shown, and pass explicit='placed'",
        )


def _notice(job: Job, data: bytes) -> Any:
    notice = job.order.notice
    if notice is None or job.form != "audio":
        return None
    _, rate = audio.decode(data)
    if notice.rate != rate:
        raise LabelError(
            job.account.needs.clause("explicit") or "a spoken notice",
            f"the notice has {notice.rate} samples a second, expected {rate} as the "
            "sound has",
        )
    return notice.samples


def _of_content(record: Record, data: bytes, form: str) -> Record:
    """The record of content that has an explicit mark now."""
    if form == "image":
        shown = image.decode(data)
        seen = fingerprint.fingerprint(image.to_rgb8(shown))
        return replace(record, fingerprint=seen).with_content(image.digest(shown))
    if form == "audio":
        return record.with_content(audio.digest(*audio.decode(data)))
    if form in TEXTS:
        return record.with_content(text_asset.digest(data.decode()))
    return record


def _labelled(job: Job, data: bytes) -> bytes:
    needs, account = job.account.needs, job.account
    if needs.level("label") is Level.OFF:
        return data
    producer = job.settings.producer
    if not producer:
        account.lack(
            "provider-code",
            "none is known: put the one that was assigned to you into home.toml, "
            "[label] producer",
        )
        account.lack("label", "there is no provider to name in it")
        return data
    coded = provider.is_code(producer)
    detail = producer if coded else f"{producer}: a name, and no code"
    account.settle("provider-code", True, "", detail)
    label = aigc.Label("1", producer, job.record.record_id)
    label.encode()  # a value outside the charset is told before anything is signed
    signer = job.settings.signer(job.home.credential)
    if signer is None:
        account.lack("security", "no SM2 key, and no other that can sign labels")
    else:
        label = security.signed(label, signer)
        found = security.verify(label, [signer.public])
        how = "SM2 with SM3" if found.gm else "gm=false: the manifests' key"
        account.settle("security", found.state == "authentic", found.detail, how)
    raw = label.encode()
    target = io.BytesIO()
    try:
        containers.write(io.BytesIO(data), target, job.carrier, raw, replace=True)
    except (UnsupportedFormat, DamagedAsset) as error:
        account.lack("label", str(error))
        return data
    job.label = raw
    return target.getvalue()


def _described(job: Job, data: bytes) -> bytes:
    if job.account.needs.level("iptc") is Level.OFF:
        return data
    try:
        return iptc.write(data, job.media_type, job.record)
    except (UnsupportedFormat, DamagedAsset, ValueError) as error:
        job.account.lack("iptc", str(error))
        return data
