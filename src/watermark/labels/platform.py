"""The duties of a platform that spreads files (Labelling Measures, Art. 6).

It reads the label, finds out whether the file is generated, may be, or is suspected to
be, and adds itself as the propagator. What the producer wrote stays as it is.
"""

from __future__ import annotations

import io

from watermark.errors import LabelError
from watermark.labels import aigc, containers, provider

CLAUSE = "Labelling Measures, Art. 6"


def classify(*, label: bool, declared: bool, traces: bool) -> str:
    """What a platform has to tell its users of a file: ``Label``'s level, or "".

    Args:
        label: the metadata say that the file is generated.
        declared: the user says so.
        traces: an explicit mark or other traces were detected.

    >>> classify(label=False, declared=True, traces=True)
    '2'
    """
    if label:
        return "1"
    if declared:
        return "2"
    return "3" if traces else ""


def propagated(
    data: bytes,
    media_type: str,
    *,
    code: str,
    propagate_id: str,
    declared: bool = False,
    traces: bool = False,
) -> bytes:
    """A file with the platform's own values in its label, the producer's unchanged.

    A file without a label gets one of level 2 or 3, if its user or its traces say so.

    Args:
        data: the file.
        media_type: of `watermark.labels.containers.SUPPORTED`.
        code: the platform's code of 27 characters, or its name in ASCII.
        propagate_id: the platform's own number of this file.
        declared: the user says that it is generated.
        traces: an explicit mark or other traces were detected.

    Raises:
        LabelError: several labels, one that cannot be read, nothing to say of this
            file, or a value that the standard does not allow.
        DamagedAsset: the container cannot be read.
        UnsupportedFormat: no label can be written into this file.
    """
    if provider.is_code(code):
        provider.ProviderCode.parse(code)
    raws = containers.read(io.BytesIO(data), media_type)
    if len(raws) > 1:
        raise LabelError(
            aigc.ONE_LABEL, f"{len(raws)} labels found in this file, expected one"
        )
    if raws:
        label = aigc.propagated(aigc.parse(raws[0]), code, propagate_id)
    else:
        level = classify(label=False, declared=declared, traces=traces)
        if not level:
            raise LabelError(
                CLAUSE,
                "no label, no declaration of the user and no traces found: nothing is "
                "said of such a file",
            )
        made = aigc.Label(level, content_propagator=code, propagate_id=propagate_id)
        label = made.encode()
    target = io.BytesIO()
    containers.write(io.BytesIO(data), target, media_type, label, replace=True)
    return target.getvalue()
