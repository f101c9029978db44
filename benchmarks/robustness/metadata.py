"""Signed and marked files whose metadata is attacked: what `verify` then says.

Subjects are containers. A file is falsely trusted if the report calls its manifest
trusted while its pixels are not those that were signed.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import warnings
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from benchmarks.attacks import metadata as attacks
from benchmarks.attacks import untouched
from benchmarks.journal import code_version
from benchmarks.options import Options, seeded_key
from benchmarks.rates import Clustered, Rate
from benchmarks.report import Cell, Part, Table, Target
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.suite import each, generator, kept
from benchmarks.robustness.summary import failure
from watermark import assets, sign, verification
from watermark.api import Watermark
from watermark.sign import update

CONTAINERS = {"PNG": "png", "JPEG": "jpeg", "WebP": "webp"}
SIDE = 384
EDITED = (96, 96, 192, 192)  # what changed since the older version was signed
NOTE = {"label": "org.watermark-sdk.benchmark", "data": {"note": "said later"}}


class MetadataSuite:
    """See `benchmarks.robustness.suite`."""

    def spec(self, options: Options) -> Spec:
        """Containers in the place of schemes."""
        table = attacks.table(b"", b"", untouched, untouched)
        return Spec(
            name="metadata",
            schemes=tuple(CONTAINERS),
            unavailable={},
            attacks={a.name: (a.family, a.strength) for a in table.values()},
            identity={
                "code": code_version(
                    (sign, assets, verification),
                    *("attacks/metadata.py", "robustness/metadata.py"),
                ),
                "shown": {"pixels": f"{SIDE}x{SIDE}"},
            },
            notes=(
                "Files: made on the spot, marked by `pixel`, signed with a development "
                "certificate that the verifier trusts. The attacker has a certificate "
                "of its own, and other files of the same provider.",
                "Updated: by an update manifest, for WebP by a second manifest. A file "
                "that is rolled back to the first one is byte for byte what it was, "
                "and as trusted: no file can show that more was said later.",
            ),
        )

    def worker(self, options: Options) -> MetadataWorker:
        """With two homes: the provider's and the attacker's."""
        return MetadataWorker(options)

    def finish(self, rows: dict[str, list[Row]]) -> None:
        """Nothing to add."""

    def part(
        self, spec: Spec, rows: Mapping[str, Sequence[Row]], count: int, new: int
    ) -> Part:
        """States and verdicts, and the one number that has to be zero."""
        good = {s: [r for r in rows[s] if "failed" not in r] for s in rows}
        failed = [why for s in rows for r in rows[s] if (why := failure(r))]
        every = [row["attacks"] for found in good.values() for row in found]
        false = Clustered.of(
            [
                one["trusted"] and not one["same"]
                for one in row.values()
                if "failed" not in one
            ]
            for row in every
        )
        kept = Rate(sum(row["none"].get("trusted", 0) for row in every), len(every))
        return Part(
            parameters={"samples": count, **spec.identity["shown"]},
            targets=(
                Target.at_most(
                    "metadata: falsely trusted files",
                    *(false.hits, 0),
                    f"of {false.n} attacked or not; at most {false.interval()[1]:.2g} "
                    "of such files by the 95 % interval",
                ),
                Target.of_rate("metadata: untouched files that are trusted", kept, 1),
                Target.at_most(
                    "metadata: samples that failed",
                    len(failed),
                    0,
                    failed[0] if failed else "",
                ),
            ),
            tables=(
                _counted("metadata: the manifest is", "state", spec, good),
                _counted("metadata: the verdict is", "verdict", spec, good),
                _counted("metadata: the ledger says", "ledger", spec, good),
            ),
            notes=spec.notes,
            new=new,
            reused=sum(map(len, rows.values())) - new,
        )


def _counted(
    title: str, what: str, spec: Spec, rows: Mapping[str, Sequence[Row]]
) -> Table:
    cells: list[tuple[Cell, ...]] = []
    for attack in spec.attacks:
        counts = [
            Counter(row["attacks"][attack].get(what, "failed") for row in rows[s])
            for s in rows
        ]
        cells.append((attack, *map(_shares, counts)))
    note = "Shares of the files with their 95 % intervals."
    return Table(title, ("attack", *rows), tuple(cells), note)


def _shares(counts: Counter[str]) -> str:
    said = []
    for what, hits in counts.most_common():
        low, high = Rate(hits, counts.total()).interval()
        said.append(f"{what} {hits / counts.total():.2f} [{low:.2f}, {high:.2f}]")
    return ", ".join(said)


class MetadataWorker:
    """Marks, signs, attacks and verifies."""

    def __init__(self, options: Options) -> None:
        self.options = options
        root = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, root, ignore_errors=True)
        self.home = _home(root / "acme", "Acme", options.seed)
        self.attacker = _home(root / "other", "Mallory", options.seed)

    def sample(self, subject: str, index: int) -> Row:
        """One file and what becomes of it."""
        rng = generator(self.options, subject, index)
        form = CONTAINERS[subject]
        first, another = _picture(rng), _picture(rng)
        last = first.copy()
        last.paste(another.crop(EDITED), EDITED)
        data, donor, older = (self._signed(p, form) for p in (last, another, first))
        signed = _pixels(data)
        table = attacks.table(
            *(donor, older),
            resigned=lambda d, _: self._stolen(d, form),
            updated=lambda d, _: self._updated(d, form),
        )

        def measure(name: str) -> Row:
            rng = generator(self.options, subject, index, name)
            changed = table[name].change(data, rng)
            report = self.home.verify(changed)
            manifests = [e for e in report.evidence if e.layer == "manifest"]
            logged = {e.state or "" for e in report.evidence if e.layer == "ledger"}
            seen = _pixels(changed)
            return {
                "state": manifests[0].state if manifests else "none",
                "verdict": report.verdict.value,
                "ledger": " and ".join(sorted(logged)) or "nothing",
                "trusted": any(e.state == "trusted" for e in manifests),
                "same": _equal(seen, signed),
            }

        return {"attacks": each(kept(table, self.options), measure), "quality": {}}

    def _signed(self, picture: Image.Image, form: str) -> bytes:
        return self.home.embed(picture, format=form).data

    def _updated(self, data: bytes, form: str) -> bytes:
        media_type = f"image/{form}"
        if media_type in update.UPDATABLE:
            credential = self.home.home.credential
            return update.update(data, media_type, [NOTE], credential).data
        return self.home.embed(data, mark=False).data

    def _stolen(self, data: bytes, form: str) -> bytes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it puts no mark in
            return self.attacker.embed(data, mark=False).data


def _home(folder: Path, provider: str, seed: int) -> Watermark:
    """A new home with the key that `seed` gives: its marks are the same every time."""
    Watermark.create(folder, provider=provider)
    key, ring = seeded_key("metadata", seed, provider), folder / "keys" / "ring.json"
    listed = json.loads(ring.read_text())
    listed["keys"][0]["kid"] = key.kid
    ring.write_text(json.dumps(listed))
    key.save(folder / "keys" / f"{key.kid}.json")
    return Watermark.open(folder)


def _picture(rng: np.random.Generator) -> Image.Image:
    """Blobs of colour and texture."""
    blobs = gaussian_filter(rng.standard_normal((SIDE, SIDE, 3)), (16, 16, 0))
    values = 128 + 50 * blobs / blobs.std() + 8 * rng.standard_normal(blobs.shape)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _pixels(data: bytes) -> NDArray[np.uint8] | None:
    """As Pillow decodes them, or None."""
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except Exception:  # whatever a damaged file raises
        return None


def _equal(a: NDArray[np.uint8] | None, b: NDArray[np.uint8] | None) -> bool:
    return a is not None and b is not None and np.array_equal(a, b)
