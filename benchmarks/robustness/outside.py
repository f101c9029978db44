"""Outside peers: toolkits that cannot live in our environment, beside a suite's own.

    python -m venv DIR && DIR/bin/pip install markllm scipy
    MARKLLM_PYTHON=DIR/bin/python python -m benchmarks robustness --suite text

    python -m venv DIR && DIR/bin/pip install markdiffusion galois ldpc
    MARKDIFFUSION_PYTHON=DIR/bin/python python -m benchmarks robustness --suite image

`Outside` is a suite that adds a toolkit's schemes to another suite: the same prompts,
draws and attacks, by a child process in the toolkit's environment. Where there is no
such environment, or a scheme cannot be loaded there, a row says so.

Their scores are taken at a realised rate: by a fit, for each attack, to the scores of
the same things under other keys (`benchmarks.robustness.fitted`). Where those are no
draws of one normal there is no fit, and a cell says so. What a toolkit states
as a p-value itself is only told under a key that did not mark the thing (``null``),
where it shows what it is worth; where it states none, ``null`` is a score under another
key by the fit to the rest. What its own threshold says stands in a table beside that.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.attacks import Attack
from benchmarks.journal import code_version
from benchmarks.options import Options, seeded
from benchmarks.report import Part
from benchmarks.robustness import outside_fit
from benchmarks.robustness.outside_child import Child, Failed
from benchmarks.robustness.outside_toolkits import Toolkit
from benchmarks.robustness.spec import Row, Spec
from benchmarks.robustness.suite import Suite, Worker, generator, lost

HERE = Path(__file__).parent
ANSWERS = HERE / "outside_answers.py"
OTHERS = 4  # keys that did not mark a thing
AT_ONCE = 8  # things in a question, which has a time limit
HUGE = 1e300  # no score is so large
Scores = Sequence[float | None]
Verdicts = Sequence[bool | None]


class Outside:
    """A suite and a toolkit's schemes; see `benchmarks.robustness.suite`."""

    def __init__(self, suite: Suite, toolkit: Toolkit) -> None:
        self.suite, self.toolkit = suite, toolkit
        self.names: dict[str, str] = {}  # of subjects, to what the toolkit calls them

    def spec(self, options: Options) -> Spec:
        """The suite's, with the toolkit's schemes or the reason why they are not."""
        spec = self.suite.spec(options)
        try:
            opened = _opened(child(self.toolkit, options))
            self.names, unusable = _sorted(self.toolkit, opened)
        except Failed as error:
            self.names, unusable = {}, {self.toolkit.name: str(error)}
        files = (
            *("outside", "outside_toolkits", "outside_answers", "outside_child"),
            self.toolkit.script,
        )
        # Whether the toolkit is there or not, rows that are on file stay good.
        version = code_version((), *(str(HERE / f"{name}.py") for name in files))
        return dataclasses.replace(
            spec,
            peers=(*spec.peers, *self.names),
            unavailable={**spec.unavailable, **unusable},
            identity={**spec.identity, "outside": version},
            notes=(*spec.notes, *(self.toolkit.notes if self.names else ())),
        )

    def worker(self, options: Options) -> Worker:
        """The suite's, and a child that is started with the first sample."""
        return OutsideWorker(
            self.suite.worker(options), self.toolkit, self.names, options
        )

    def finish(self, rows: dict[str, list[Row]]) -> None:
        """p-values, from the scores under other keys."""
        self.suite.finish({s: rows[s] for s in rows if s not in self.names})
        for subject in self.names:
            outside_fit.fit(rows.get(subject, []))

    def part(
        self, spec: Spec, rows: Mapping[str, Sequence[Row]], count: int, new: int
    ) -> Part:
        """The suite's, and what the toolkit's own thresholds say."""
        own = {s: rows[s] for s in self.names if rows.get(s)}
        lost = {s: outside_fit.unfitted(found) for s, found in own.items()}
        # Who has hardly a fit would leave no attack that all have gone through.
        few = {s for s in lost if len(lost[s]) > len(spec.attacks) / 2}
        known = dataclasses.replace(spec, apart=spec.apart | few)
        part = self.suite.part(known, rows, count, new)
        tables = [outside_fit.said(table, lost) for table in part.tables]
        if own:
            title = f"{spec.name}: {self.toolkit.name}"
            tables.append(outside_fit.thresholds(title, own))
        return dataclasses.replace(part, tables=tuple(tables))


class OutsideWorker:
    """Samples of the toolkit's schemes by the child, all others by the suite's worker.

    Args:
        worker: the suite's. Its ``attacks`` are done to the toolkit's things, too.
        toolkit: the toolkit.
        names: of subjects, to what the toolkit calls them.
        options: the command line's.
    """

    def __init__(
        self, worker: Any, toolkit: Toolkit, names: Mapping[str, str], options: Options
    ) -> None:
        self.worker, self.toolkit, self.names = worker, toolkit, names
        self.options = options
        self._child: Child | None = None

    def sample(self, subject: str, index: int) -> Row:
        """One row."""
        if subject not in self.names:
            row: Row = self.worker.sample(subject, index)
            return row
        if self._child is None:
            self._child = child(self.toolkit, self.options)
        toolkit, scheme = self.toolkit, self.names[subject]
        keys = [self._key(subject, index, place) for place in range(1 + OTHERS)]
        drawn = seeded("robustness", self.options.seed, index)[:8]  # as by the suite
        made = self._child.ask(
            {
                "do": "mark",
                "scheme": scheme,
                "key": keys[0],
                "seed": int.from_bytes(drawn, "little") >> 1,
                "prompt": toolkit.prompt(index),
            }
        )
        if not isinstance(made.get("thing"), str):
            raise Failed(f"marked nothing: answered {sorted(made)}, expected a thing")
        thing = toolkit.ours(made["thing"])
        attacks: Mapping[str, Attack[Any]] = self.worker.attacks
        changed: dict[str, str] = {}
        found: dict[str, Row] = {}
        for name, attack in attacks.items():
            rng = generator(self.options, subject, index, name)
            try:
                changed[name] = toolkit.theirs(attack.change(thing, rng))
            except Exception as error:  # whatever it raises is its result
                found[name] = {**lost(error), "score": None, "others": []}
        answers = self._answers(self._child, scheme, keys, list(changed.values()))
        for name, answer in zip(changed, answers, strict=True):
            found[name] = measured(toolkit, scheme, *answer)
        return {"attacks": found, "quality": toolkit.quality(self.worker, thing)}

    def _answers(
        self, child: Child, scheme: str, keys: Sequence[int], changed: Sequence[str]
    ) -> list[tuple[Scores, Verdicts]]:
        """Of each thing its scores under every key, and whether those suffice."""
        found: list[tuple[Scores, Verdicts]] = []
        for start in range(0, len(changed), AT_ONCE):
            few = changed[start : start + AT_ONCE]
            asked = {"do": "score", "scheme": scheme, "keys": keys, "things": few}
            answer = child.ask(asked)
            scores = checked(answer.get("scores"), len(keys), len(few))
            accepted = verdicts(answer.get("accepted"), len(keys), len(few))
            columns = zip(*scores, strict=True), zip(*accepted, strict=True)
            found += zip(*columns, strict=True)
        return found

    def _key(self, subject: str, index: int, place: int) -> int:
        """Odd, of 31 bits: some multiply by it. The first one marks.

        New for each sample: a fit needs scores that are independent.
        """
        drawn = seeded("outside", self.options.seed, subject, index, place)
        return int.from_bytes(drawn[:4], "little") >> 1 | 1


def child(toolkit: Toolkit, options: Options) -> Child:
    """The toolkit's process, not yet started.

    Raises:
        Failed: no Python is named for it.
    """
    python = os.environ.get(toolkit.variable, "")
    if not python:
        raise Failed(f"not measured: {toolkit.variable} names no Python that has it")
    scripts = (ANSWERS, HERE / f"{toolkit.script}.py")
    return Child(Path(python), scripts, {"do": "open", **toolkit.opening(options)})


def _opened(started: Child) -> dict[str, Any]:
    try:
        return started.start()
    finally:
        started.stop()


def _sorted(
    toolkit: Toolkit, opened: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, str]]:
    """Subjects that can be measured, and why others cannot.

    Their names say the version: rows of another one are other rows.

    Raises:
        Failed: it says no version, or no schemes.
    """
    versions, schemes = opened.get("versions"), opened.get("schemes")
    if not isinstance(versions, dict) or not isinstance(schemes, dict):
        raise Failed(f"opened with {sorted(opened)}, expected versions and schemes")
    version = versions.get(toolkit.name.lower(), "of no version")
    full = {scheme: f"{toolkit.name}-{version}-{scheme}" for scheme in schemes}
    reasons = schemes.items()
    return (
        {full[s]: s for s, why in reasons if why is None and s in toolkit.schemes},
        {full[s]: str(why) for s, why in reasons if why is not None},
    )


def checked(scores: Any, keys: int, things: int) -> list[list[float | None]]:
    """What a child calls its scores.

    Raises:
        Failed: not a finite number or null for every key and thing.
    """
    rows = _shaped("scores", scores, keys, things)
    for one in (one for row in rows for one in row):
        if one is not None and not (type(one) in (int, float) and abs(one) < HUGE):
            raise Failed(f"a score is {str(one)[:40]!r}, expected a finite number")
    return rows


def verdicts(accepted: Any, keys: int, things: int) -> list[list[bool | None]]:
    """What a child calls its verdicts, by the toolkit's own threshold.

    Raises:
        Failed: not true, false or null for every key and thing.
    """
    rows = _shaped("verdicts", accepted, keys, things)
    for one in (one for row in rows for one in row):
        if one is not None and type(one) is not bool:
            raise Failed(f"a verdict is {str(one)[:40]!r}, expected true or false")
    return rows


def _shaped(what: str, found: Any, keys: int, things: int) -> list[list[Any]]:
    rows: list[Any] = [None]
    if isinstance(found, list) and len(found) == keys:
        rows = found
    for row in rows:
        if not isinstance(row, list) or len(row) != things:
            raise Failed(f"{what} of another shape than {keys} keys, {things} things")
    return rows


def measured(
    toolkit: Toolkit, scheme: str, scores: Scores, accepted: Verdicts
) -> dict[str, Any]:
    """What a row says of one attack, but for log10 p.

    Args:
        toolkit: the toolkit.
        scheme: of it.
        scores: under the key that marked, then under others; None: it cannot say.
        accepted: whether the toolkit calls it marked, under the same keys.
    """
    known = toolkit.schemes[scheme]
    score, *others = [None if s is None else known.normal(s) for s in scores]
    row = {"score": score, "others": others, "log10_p": 0.0, "exact": None}
    row |= {"accepted": accepted[0], "others accepted": list(accepted[1:])}
    if known.log10_p is not None and scores[1] is not None:
        row["null"] = known.log10_p(scores[1])
    return row
