"""Robustness: which mark survives which attack, at a realised false-positive rate.

    python -m benchmarks robustness [--suite text,image] [--schemes gumbel,noise]
        [--peers PRC] [--only JPEG,crop] [--samples 32] [--model PATH_OR_ID]
        [--pipeline PATH_OR_ID] --out DIR

``--only`` names families of attacks, with all of their strengths; without it,
``--full`` alone has all. The suite ``strength`` has every scheme at several strengths,
and is run by ``--full`` or by its name; there ``--schemes gumbel`` is all of one. Peers
run in the same process on the same samples; toolkits in environments of their own are
added to a suite by `Outside`, and ``--peers MarkLLM`` is all of one. With ``--out`` the
folder gets the rows as JSON lines, a summary and one HTML page; results of models other
than the default ones have names of their own. A run that was stopped goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.options import Options, Unavailable
from benchmarks.report import Part, Result
from benchmarks.robustness import html, metadata, runner
from benchmarks.robustness.audio import AudioSuite
from benchmarks.robustness.image import ImageSuite
from benchmarks.robustness.outside import Outside
from benchmarks.robustness.outside_toolkits import MARKDIFFUSION, MARKLLM
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.strength import StrengthSuite
from benchmarks.robustness.suite import Suite, asked, short
from benchmarks.robustness.text import TextSuite
from benchmarks.robustness.video import VideoSuite

SUITES: Mapping[str, Suite] = {
    "text": Outside(TextSuite(), MARKLLM),
    "image": Outside(ImageSuite(), MARKDIFFUSION),
    "audio": AudioSuite(),
    "video": VideoSuite(),
    "metadata": metadata.MetadataSuite(),
    "strength": StrengthSuite(),
}
LATER = frozenset({"strength"})  # suites of full runs, or of who names them
QUICK, FULL = 32, 100  # samples of each cell


def run(options: Options) -> list[Result]:
    """A result for each suite.

    Raises:
        Unavailable: an unknown suite, scheme, peer or attack, a model that is missing,
            or a count below 1; before any work.
    """
    count = options.count(QUICK, FULL)
    for what, number in (("samples", count), ("workers", options.workers)):
        if number is not None and number < 1:
            raise Unavailable(f"{what} is {number}, expected at least 1")
    names = _chosen("suite", options.suites, SUITES)
    if not options.full and not options.suites:
        names = [name for name in names if name not in LATER]
    specs = {name: SUITES[name].spec(options) for name in names}
    subjects = _subjects(specs, options)
    specs = _attacked(specs, options.only)
    results = []
    for name in names:
        if not subjects[name]:
            continue
        suite, spec = SUITES[name], specs[name]
        rows, new = runner.run(suite, spec, subjects[name], count, options)
        suite.finish(rows)
        part: Part = suite.part(spec, rows, count, new)
        title = "-".join(filter(None, ("robustness", name, spec.variant)))
        kept = _keep(title, rows, spec, options)
        results.append(Result.of(title, [part], seed=options.seed, rows=kept))
    return results


def _chosen(what: str, wanted: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise Unavailable(
            f"no {what} {', '.join(unknown)}; expected some of {', '.join(known)}"
        )
    return [name for name in known if not wanted or name in wanted]


def _subjects(specs: Mapping[str, Spec], options: Options) -> dict[str, list[str]]:
    """Those of each suite that the command line asks for; all by default.

    Who names schemes alone, or peers alone, gets no others; a scheme stands for all of
    its strengths.
    """
    every = {name: None for spec in specs.values() for name in spec.schemes}
    swept = {_scheme(name): None for name in every}
    schemes = _chosen("scheme", options.schemes, {**swept, **every})
    peers = _peers(options.peers, specs)
    if options.schemes and not options.peers:
        peers = []
    if options.peers and not options.schemes:
        schemes = []
    return {
        name: [
            *(s for s in spec.schemes if {s, _scheme(s)} & {*schemes}),
            *(s for s in spec.peers if s in peers),
        ]
        for name, spec in specs.items()
    }


def _scheme(subject: str) -> str:
    """Its name without the strength: ``greenlist`` of ``greenlist delta 2``."""
    return subject.partition(" ")[0]


def _peers(wanted: Sequence[str], specs: Mapping[str, Spec]) -> list[str]:
    """By their names; by these without a version; or by the beginning of either.

    ``MarkLLM-1.0-EXP`` is ``MarkLLM-EXP`` too, and one of ``MarkLLM``.
    """
    every = {name: None for spec in specs.values() for name in spec.peers}
    missing = {n: why for spec in specs.values() for n, why in spec.unavailable.items()}
    found: list[str] = []
    for asked_for in wanted:
        if asked_for in every:  # one name may begin another
            found.append(asked_for)
            continue
        meant = [name for name in every if _means(asked_for, name)]
        if not meant and asked_for in missing:
            raise Unavailable(f"no peer {asked_for}: {missing[asked_for]}")
        found += meant or _chosen("peer", [asked_for], every)
    return [name for name in every if not wanted or name in found]


def _means(asked_for: str, name: str) -> bool:
    parts = name.split("-")
    plain = "-".join(part for part in parts if not part[:1].isdigit())
    return any(f"{one}-".startswith(f"{asked_for}-") for one in (name, plain))


def _attacked(specs: Mapping[str, Spec], only: Sequence[str]) -> dict[str, Spec]:
    """The specs with the families of attacks that the command line asks for."""
    families = [short(f) for spec in specs.values() for f, _ in spec.attacks.values()]
    _chosen("attack", only, dict.fromkeys(families))
    if not only:
        return dict(specs)
    return {
        name: dataclasses.replace(
            spec,
            attacks={a: of for a, of in spec.attacks.items() if asked(of[0], only)},
            forged=frozenset(a for a in spec.forged if asked(spec.attacks[a][0], only)),
            identity={**spec.identity, "only": sorted(only)},
        )
        for name, spec in specs.items()
    }


def write(folder: Path, results: Sequence[Mapping[str, Any]], options: Options) -> None:
    """What `report.write` writes, the rows, and one page to look at."""
    (folder / "robustness.json").unlink(missing_ok=True)  # of a run that was refused
    report.write(folder, results)
    for data in results:
        name, parameters = data["name"], data["parameters"]
        if data["skipped"]:
            continue
        head = {"machine": data["machine"], "commit": data["commit"], **parameters}
        path = _rows_file(options.work, name, parameters["rows"])
        target = folder / f"{name}.jsonl"
        with target.open("w", encoding="utf-8") as out, path.open() as rows:
            out.write(json.dumps(head) + "\n")
            shutil.copyfileobj(rows, out)
    found = [
        json.loads(p.read_text()) for p in sorted(folder.glob("robustness-*.json"))
    ]
    page = html.page([data for data in found if not data["skipped"]], folder)
    (folder / "robustness.html").write_text(page, encoding="utf-8")


def _keep(
    title: str, rows: Mapping[str, Sequence[Row]], spec: Spec, options: Options
) -> str:
    """The rows that the tables count, in a file of the work folder.

    With what `finish` wrote into them, in an order that does not depend on processes.

    Returns:
        What decides them, digested: a name that other runs do not have.
    """
    counts = {subject: len(found) for subject, found in rows.items()}
    decided = json.dumps([runner.identity(spec, options), counts], sort_keys=True)
    name = hashlib.sha256(decided.encode()).hexdigest()[:16]
    with _rows_file(options.work, title, name).open("w", encoding="utf-8") as out:
        for subject, found in rows.items():
            for i, row in enumerate(found):
                out.write(json.dumps({"id": f"{subject}/{i}", **row}) + "\n")
    return name


def _rows_file(work: Path, title: str, name: str) -> Path:
    return work / f"{title}-{name}.rows"
