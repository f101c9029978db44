"""Is it there? Tokens or an array, and a key record, to a `Score`.

One module per scheme, the same name as the scheme. A detector knows no pipeline and no
file; its p-value holds over the draw of the key for any asset chosen without it.
"""

from __future__ import annotations

from watermark.detectors.base import Score as Score
