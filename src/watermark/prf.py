"""The only source of keyed randomness: sub-keys, SipHash states and tags of a record.

HKDF-SHA256 separates purposes, schemes and epochs (`KeyRecord.derive`); SipHash-2-4-128
turns a sub-key and a context into a state; Philox4x32-10 turns a state into words
(`watermark.kernels`). Breaking the last stage exposes one context, never the key.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence

from watermark.kernels import siphash128
from watermark.keys import KeyRecord


def context_key(record: KeyRecord) -> bytes:
    """The 16-byte SipHash key that hashes token contexts."""
    return record.derive("context", length=16)


def state(record: KeyRecord, purpose: str, shape: Sequence[int]) -> bytes:
    """A 16-byte state for one purpose and one array shape."""
    data = struct.pack(f"<{len(shape)}Q", *shape)
    return siphash128(record.derive(f"state/{purpose}", length=16), data)


def tag(record: KeyRecord, purpose: str, *parts: bytes) -> bytes:
    """HMAC-SHA256 of `parts`, each with its length, under a sub-key for `purpose`."""
    data = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    return hmac.digest(record.derive(f"tag/{purpose}"), data, "sha256")
