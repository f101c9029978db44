"""Somebody's manifest kept inside the next one, where the native library finds none.

A file that is changed and signed again names what it was made from as its parent
(C2PA 2.4, 18.16), and holds the parent's manifest. The library puts it there from
every container that it reads. From a text, or from beside a file, it is put there here.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from watermark.errors import SigningError
from watermark.sign.jumbf import SIGNATURE, Manifest, boxed, boxes, labelled
from watermark.sign.manifest import Results

INGREDIENT = "c2pa.ingredient.v3"


def adopt(manifest: Manifest, store: bytes, found: Results) -> None:
    """Put the manifests of `store` into the new one, as those of its parent.

    Args:
        manifest: with an ingredient that is the parent, of which nothing is known.
        store: of the parent.
        found: what validating the parent found (18.16.10).

    Raises:
        SigningError: `store` cannot be taken apart, or there is no such ingredient.
    """
    label = _parent(manifest)
    try:
        ((_, whole),) = boxes(store)
        _, *manifests = boxes(whole)
        payload = manifests[-1][1]
        active = labelled(payload)
        signature = next(p for _, p in list(boxes(payload))[1:] if _is_signature(p))
    except (struct.error, LookupError, ValueError, StopIteration) as error:
        raise SigningError(
            f"the parent's manifest cannot be kept inside the new one: {error!r}"
        ) from error
    url = f"self#jumbf=/c2pa/{active}"
    content = manifest.content(label)
    content["activeManifest"] = _reference(url, payload)
    content["claimSignature"] = _reference(f"{url}/{SIGNATURE}", signature)
    content["validationResults"] = found
    manifest.replace(label, content)
    manifest.earlier += b"".join(boxed(*each) for each in manifests)


def _parent(manifest: Manifest) -> str:
    for label in manifest.assertions:
        known = label.partition("__")[0] == INGREDIENT
        if known and manifest.content(label).get("relationship") == "parentOf":
            return label
    raise SigningError("no parent was named, expected one for its manifest")


def _is_signature(payload: bytes) -> bool:
    return labelled(payload) == SIGNATURE


def _reference(url: str, payload: bytes) -> dict[str, Any]:
    """A hashed URI (8.4.2.3: without the superbox's header)."""
    return {"url": url, "hash": hashlib.sha256(payload).digest(), "alg": "sha256"}
