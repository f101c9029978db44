"""``python -m benchmarks.conformance RUBRICS``: exit code 0 if everything conforms."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.conformance.rubric import Rubric
from benchmarks.conformance.signing import Signed, everything
from watermark.sign.credential import Credential

CONFORMANCE = "asset-rubric-conformance0.2-spec2.4.yml"
INTEGRITY = "asset-rubric-integrity.yml"
SIGNALS = "asset-rubric-signals-local.yml"
TEXT = "asset-rubric-text-conformance.yml"

# The text rubric wants `dc:format` among the parameters of the first action, and the
# conformance rubric allows no parameter that is not in the specification: one of them
# has to fail. A sidecar excludes nothing from the hash, and an altered text was not
# created here.
CANNOT = {"text:is_text_asset"}
OF_SIDECARS = {"text:exclusions_defined"}
OF_CREATED = {"text:inception_action_present", "text:inception_has_dst"}

CONFORMS, FAILS, NO_RUBRICS = 0, 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Sign everything and check it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance")
    parser.add_argument("rubrics", type=Path, help="folder of C2PA's asset rubrics")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    args = parser.parse_args(arguments)
    if not (args.rubrics / CONFORMANCE).is_file():
        print(f"no {CONFORMANCE} in {args.rubrics}: nothing checked", file=sys.stderr)
        return NO_RUBRICS
    names = (CONFORMANCE, INTEGRITY, SIGNALS, TEXT)
    rubrics = {name: Rubric.load(args.rubrics / name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        credential = Credential.create_dev(Path(folder) / "credential", "Acme")
        rows = [_row(signed, rubrics) for signed in everything(credential)]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        _show(rows)
    return CONFORMS if not any(row["failed"] for row in rows) else FAILS


def _row(signed: Signed, rubrics: dict[str, Rubric]) -> dict[str, object]:
    """One file: how many checks it passes of each rubric, and which it fails."""
    active = signed.report["manifests"][0]
    row: dict[str, object] = {"name": signed.name, "origin": signed.origin}
    failed = [] if signed.state == "trusted" else [f"state is {signed.state}"]
    for name in (CONFORMANCE, INTEGRITY, *([TEXT] if signed.is_text else [])):
        checks = rubrics[name].apply(signed.report)
        row[name] = f"{sum(check.passed for check in checks)}/{len(checks)}"
        allowed = _allowed(signed) if name == TEXT else set()
        failed += [c.name for c in checks if not c.passed and c.name not in allowed]
    signals = {check.name: check.passed for check in rubrics[SIGNALS].apply(active)}
    generated = signals["inception:signal_fullyGenAIMedia"]
    row["signals"] = [name for name, there in signals.items() if there]
    if generated != (signed.origin == "created"):
        failed.append("inception:signal_fullyGenAIMedia")
    if signals["transformation:signal_ambiguousActions"]:
        failed.append("transformation:signal_ambiguousActions")
    return {**row, "failed": failed}


def _allowed(signed: Signed) -> set[str]:
    sidecar = OF_SIDECARS if signed.name.endswith("sidecar") else set()
    return CANNOT | sidecar | (OF_CREATED if signed.origin == "altered" else set())


def _show(rows: list[dict[str, object]]) -> None:
    table = Table("file", "origin", "conformance", "integrity", "text", "failed")
    for row in rows:
        cells = [row["name"], row["origin"], row[CONFORMANCE], row[INTEGRITY]]
        failed = row["failed"]
        assert isinstance(failed, list)
        cells += [row.get(TEXT, ""), ", ".join(failed)]
        table.add_row(*map(str, cells))
    Console(width=150).print(table)


if __name__ == "__main__":
    sys.exit(main())
