"""Which of diffusers' pipeline classes can be attached, proven by their own draw.

    python -m benchmarks diffusion-coverage --json

For every class that is not deprecated: the public `attach` on an instance of small
random components, then its own `__call__`, or, where that needs more than small
components (a chat model, a file), its own prepare method alone. `marked` means that the
detector finds the very noise that the class then holds, at p < 1e-6. `inverted` means
that it finds it in what an inversion of the output gives back, too. No network.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import math
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.diffusion import coverage_inverted, instance
from benchmarks.options import Options
from benchmarks.rates import Rate
from benchmarks.report import Result, Table, Target
from watermark.detectors import noise as detector
from watermark.errors import UnsupportedPipeline
from watermark.keys import Key, KeyRecord
from watermark.pipelines import diffusers as host
from watermark.pipelines import diffusion_draw
from watermark.pipelines.diffusion_host import parts_of
from watermark.record import Record
from watermark.schemes import noise

FPR = 1e-6
SIDES = (64, 128, 256)  # pixels; latents of fewer than 1,024 numbers carry no code
# Sides and forms of a prepare method's pictures, tried in turn.
PICTURES = (
    (128, 0),
    (128, 1),
    (128, 3),
    (64, 1),
    (64, 2),
    (256, 0),
    (256, 1),
    (512, 0),
)
SECONDS = 6  # of CPU time, for one attempt
SECONDS_INVERTED = 15
SHARE = 0.84
INVERTED = 0.8  # of the classes of pictures and films that were called
CLASSES, FAMILIES, MODULAR = 215, 30, 15


@dataclass(frozen=True, slots=True)
class Row:
    """What one class came to.

    Attributes:
        name: of the class.
        family: folder it is in.
        status: ``"marked"``, ``"not applicable"`` or ``"failed"``.
        reason: why, or what was done.
        stand_in: whether anything was not a component of the class's own types.
        called: whether its own `__call__` ran to the end.
        returned: whether the draw was found in what its prepare method returned, and
            not only in the draw that the class received.
        log10_p: of the detector.
        inverted: whether the draw was found again by inverting the pipeline; None
            where that was not asked, or the output is no picture and no film.
        why: why it was not.
        inverted_log10_p: of the detector on that estimate.
    """

    name: str
    family: str
    status: str
    reason: str = ""
    stand_in: bool = False
    called: bool = False
    returned: bool = False
    log10_p: float = 0.0
    inverted: bool | None = None
    why: str = ""
    inverted_log10_p: float = 0.0


@dataclass(frozen=True)
class Coverage(Result):
    """A result with a row for each class, and for each block of modular pipelines."""

    classes: tuple[Row, ...] = ()
    modular: tuple[Row, ...] = ()


class _TooSlow(BaseException):
    """Not an `Exception`, which pipelines catch."""


@dataclass
class _Seen:
    """What passed by while a pipeline ran."""

    drawn: list[torch.Tensor] = field(default_factory=list)
    returned: list[torch.Tensor] = field(default_factory=list)
    decoded: list[torch.Tensor] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    asked: dict[str, Any] = field(default_factory=dict)

    def sink(self, records: Sequence[Record], outputs: Sequence[Any]) -> None:
        self.records.extend(records)
        self.outputs.extend(outputs)


def key_record() -> KeyRecord:
    """The key of this benchmark: anyone can guess it."""
    key = Key(hashlib.sha256(b"diffusion coverage").digest())
    return noise.SCHEME.record(key, nonce_bits=10)


def check(name: str, *, call: bool = True, invert: bool = False) -> Row:
    """Attach one class, run it, and look for the mark in its noise.

    Args:
        name: of the class.
        call: whether to run its own `__call__`, and not the prepare method alone.
        invert: whether to look for the mark by inverting what was called, too.
    """
    import diffusers

    kind = getattr(diffusers, name)
    family = kind.__module__.split(".")[2]
    alone = Row(name, family, "failed", "no prepare method of its own")
    if diffusion_draw.methods(kind):
        alone = _attempt(kind, _prepared, text=False)
        alone = replace(alone, reason=alone.reason or "prepare method alone")
    if alone.status == "not applicable" or (alone.status == "marked" and not call):
        return alone
    whole = _attempt(kind, _called, text=True, invert=invert)
    if whole.status == "failed" and alone.status == "marked":
        return replace(alone, reason=f"{alone.reason} (__call__: {whole.reason})")
    if whole.status == "failed" and alone.reason:
        return replace(whole, reason=f"{whole.reason}; alone: {alone.reason}")
    return whole


def _attempt(
    kind: Any, run: Callable[..., None], *, text: bool, invert: bool = False
) -> Row:
    family = kind.__module__.split(".")[2]
    row = Row(kind.__name__, family, "failed")
    seen = _Seen()
    try:
        try:
            built = instance.build(kind, text=text)
        except AttributeError:  # its __init__ asks what encodes prompts for a size
            built = instance.build(kind)
    except Exception as error:
        if isinstance(error, ValueError) and "deprecation tuple" in str(error):
            reason = "diffusers refuses it: its date of removal has passed"
            return replace(row, status="not applicable", reason=reason)
        return replace(row, reason=f"cannot be built: {_said(error)}")
    row = replace(row, stand_in=bool(built.stand_ins))
    reason = "the draw was not found"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(kind, built.pipe, seen)
    except UnsupportedPipeline as error:
        reason = _said(error)
        if " draws no " in str(error) or "makes neither" in str(error):
            return replace(row, status="not applicable", reason=str(error))
    except (Exception, _TooSlow) as error:
        reason = _said(error)
    p, returned, draw = _found(seen)
    if p < math.log10(FPR) and seen.records:
        if invert and draw is not None:
            row = _inverted(row, built.pipe, seen, tuple(draw.shape[1:]))
        return replace(
            row,
            status="marked",
            reason=", ".join(built.stand_ins),
            called=run is _called,
            returned=returned,
            log10_p=p,
        )
    vectors = bool(seen.drawn) and all(draw.ndim < 3 for draw in seen.drawn)
    if vectors and reason.startswith("NotMarked"):
        reason = "draws an embedding, no latents"
        return replace(row, status="not applicable", reason=reason)
    return replace(row, reason=reason)


def _inverted(row: Row, pipe: Any, seen: _Seen, drawn: tuple[int, ...]) -> Row:
    """The row, with whether the draw is found again by inverting the pipeline."""
    try:
        pixels = coverage_inverted.pixels_of(seen.outputs[0])
    except UnsupportedPipeline as error:
        return replace(row, why=str(error))
    p = 0.0
    try:
        with warnings.catch_warnings(), _limit(SECONDS_INVERTED):
            warnings.simplefilter("ignore")
            z = coverage_inverted.estimated(pipe, pixels, seen.decoded, seen.asked)
        why = "the draw was not found"
        if z.shape == drawn:
            p = log10_p(z, seen.records)
        else:
            why = f"the estimate has the shape {z.shape}, the draw {drawn}"
    except (Exception, _TooSlow) as error:
        why = _said(error)
    found = p < math.log10(FPR)
    return replace(row, inverted=found, why="" if found else why, inverted_log10_p=p)


def _called(kind: Any, pipe: Any, seen: _Seen) -> None:
    """The class's own `__call__`, on larger pictures where latents are too small."""
    for side in SIDES:
        arguments = instance.call_arguments(kind, side)
        if "height" not in inspect.signature(kind.__call__).parameters:
            instance.resize(pipe, side // 2)
        seen.drawn.clear()
        seen.returned.clear()
        seen.decoded.clear()
        seen.asked = arguments
        try:
            with (
                _spied(kind, pipe, seen),
                coverage_inverted.decoding(pipe, seen.decoded),
                _attached(pipe, seen),
                _limit(),
            ):
                pipe(**arguments)
            return
        except Exception as error:
            if "too small" not in str(error) or side == SIDES[-1]:
                raise


def _prepared(kind: Any, pipe: Any, seen: _Seen) -> None:
    """The class's own prepare method, called by a `__call__` that does nothing else."""
    names = diffusion_draw.methods(kind)
    if not names:
        raise RuntimeError("no prepare method of its own")
    name = names[-1]
    original = type(pipe)
    last: Exception = RuntimeError("no attempt")
    for side, variant in PICTURES:

        def call(self: Any, side: int = side, variant: int = variant) -> Any:
            method = getattr(self, name)
            method(**instance.prepare_arguments(self, method, side, variant))
            return ([None],)

        pipe.__class__ = type(kind.__name__, (kind,), {"__call__": call})
        pipe.__class__.__module__ = kind.__module__
        seen.drawn.clear()
        seen.returned.clear()
        try:
            with _spied(type(pipe), pipe, seen), _attached(pipe, seen), _limit():
                pipe()
            return
        except Exception as error:  # the next shape of pictures may do
            last = error
        finally:
            pipe.__class__ = original
    raise last


@contextlib.contextmanager
def _attached(pipe: Any, seen: _Seen) -> Iterator[None]:
    with host.attach(
        pipe, key_record(), seen.sink, provider="benchmark", layers=("noise",)
    ):
        yield


@contextlib.contextmanager
def _spied(kind: Any, pipe: Any, seen: _Seen) -> Iterator[None]:
    """Keep what the class and its parts draw, and what their prepare methods return."""
    with contextlib.ExitStack() as stack:
        for part in parts_of(pipe):
            own = kind if part is pipe else type(part)
            for base in own.__mro__:
                module = sys.modules.get(base.__module__)
                if hasattr(module, "randn_tensor"):
                    stack.enter_context(_drawing(module, seen))
            overrides = {
                name: _returning(getattr(own, name), seen)
                for name in diffusion_draw.methods(own)
            }
            before = type(part)
            spy = type(own.__name__, (own,), overrides)
            spy.__module__ = own.__module__
            part.__class__ = spy
            stack.callback(setattr, part, "__class__", before)
        yield


@contextlib.contextmanager
def _drawing(module: Any, seen: _Seen) -> Iterator[None]:
    draw = module.randn_tensor

    def randn_tensor(*args: Any, **kwargs: Any) -> torch.Tensor:
        drawn: torch.Tensor = draw(*args, **kwargs)
        seen.drawn.append(drawn.detach().clone())
        return drawn

    module.randn_tensor = randn_tensor
    try:
        yield
    finally:
        module.randn_tensor = draw


def _returning(method: Callable[..., Any], seen: _Seen) -> Callable[..., Any]:
    def prepare(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        values = result if isinstance(result, tuple | list) else (result,)
        seen.returned += [v.detach().clone() for v in values if torch.is_tensor(v)]
        return result

    prepare.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
    prepare.__wrapped__ = method  # type: ignore[attr-defined]
    return prepare


def _found(seen: _Seen) -> tuple[float, bool, torch.Tensor | None]:
    """(log10 p of the best draw, whether a prepare method returned it, the draw)."""
    best, returned, which = 0.0, False, None
    for draw in seen.drawn:
        if draw.ndim < 3 or draw[0].numel() < 1024 or not draw.isfinite().all():
            continue
        z = draw[0].float().numpy()
        p = log10_p(z, seen.records)
        if p < best:
            best, which = p, draw
            returned = any(_holds(value, draw) for value in seen.returned)
    return best, returned, which


def log10_p(z: NDArray[np.floating], records: Sequence[Record]) -> float:
    """Of the detector, if it reads the mark id of one of the records; else 0."""
    ids = {mark.mark_id for record in records for mark in record.marks}
    score = detector.score(z, noise.Code(key_record(), z.shape))
    return score.log10_p() if score.payload in ids else 0.0


def _holds(value: torch.Tensor, draw: torch.Tensor) -> bool:
    """Whether `value` is the draw, folded and scaled or not."""
    if value.numel() != draw.numel() or not value.is_floating_point():
        return False
    first, second = (x.float().reshape(-1).sort().values for x in (value, draw))
    scale = float(first.norm() / second.norm())
    return scale > 0 and bool(torch.allclose(first / scale, second, atol=1e-3))


@contextlib.contextmanager
def _limit(seconds: float = SECONDS) -> Iterator[None]:
    """Raise after some seconds of CPU time, where the platform can."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise _TooSlow(f"took more than {seconds} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 1.0)  # again, if it is lost
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def rows(
    names: Sequence[str] | None = None, options: Options | None = None
) -> list[Row]:
    """One row for each class, by name; some of them, or all."""
    known = instance.classes()
    found = [
        Row(name, "", "not applicable", "needs a package that is not installed")
        for name in known["lacks"]
        if names is None or name in names
    ]
    chosen = [n for n in known["loads"] if names is None or n in names]
    tracked = options.track(chosen, "coverage") if options else chosen
    found += [check(name, invert=True) for name in tracked]
    return sorted(found, key=lambda row: row.name)


def run(options: Options) -> Coverage:
    """The coverage of the installed diffusers: tables, and a row for each class."""
    import diffusers

    from benchmarks.diffusion import coverage_modular

    diffusers.utils.logging.set_verbosity_error()
    found = rows(None, options)
    marked = [row for row in found if row.status == "marked"]
    real = [row for row in marked if not row.stand_in]
    families = {row.family for row in marked if row.called}
    blocks = coverage_modular.rows()
    modular = {row.family for row in blocks if row.status == "marked"}
    counts = Counter((row.status, row.called, row.stand_in) for row in found)
    tried = [row for row in found if row.inverted is not None]
    again = Rate(sum(bool(row.inverted) for row in tried), len(tried))
    shown = tuple(
        (status, "yes" if called else "no", "yes" if stand_in else "no", count)
        for (status, called, stand_in), count in sorted(counts.items())
    )
    why = Counter((row.status, row.reason) for row in found if row.status != "marked")
    return Coverage(
        name="diffusion-coverage",
        parameters={"diffusers": diffusers.__version__, "classes": len(found)},
        targets=(
            Target.at_least("classes marked", len(marked), CLASSES),
            Target.at_least("share marked", len(marked) / len(found), SHARE),
            Target.at_least("families called", len(families), FAMILIES),
            Target.at_least("modular families", len(modular), MODULAR),
            Target.of_rate("share found by inverting", again, INVERTED),
        ),
        tables=(
            Table("Classes", ("status", "called", "stand-in", "classes"), shown),
            Table(
                "Not marked",
                ("status", "reason", "classes"),
                tuple((s, r, n) for (s, r), n in sorted(why.items())),
            ),
            Table(
                "Inverted",
                ("family", "class", "inverted", "why"),
                tuple(
                    (row.family, row.name, "yes" if row.inverted else "no", row.why)
                    for row in sorted(tried, key=lambda row: (row.family, row.name))
                ),
                "Every class of pictures or films whose own `__call__` ran: whether "
                "the draw is found in an estimate by a plain `Inverter`, which is "
                "given no prompt and no control picture. Small random models: that "
                "it can be done, not how well.",
            ),
        ),
        notes=(f"{len(real)} of the marked classes use no stand-in at all.",),
        classes=tuple(found),
        modular=tuple(blocks),
    )
