"""The Soft Binding Resolution API of C2PA 2.4 ("Decoupled", OpenAPI 2.3.0): 12 routes.

Status codes are the specification's; 408, 413, 429 and 503 stand beside them for limits
that it does not speak of.
"""

from __future__ import annotations

from fastapi import APIRouter

from watermark.serve import manifests, matches

router = APIRouter()
router.include_router(matches.router)
router.include_router(manifests.router)
