"""What `attach` puts around a pipeline's calls: plan the layers, run, check, record."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from watermark.errors import NotMarked, UnsupportedPipeline
from watermark.pipelines import diffusion_decode as decode
from watermark.pipelines import diffusion_output as output_of
from watermark.pipelines import diffusion_scheduler as scheduler_of
from watermark.pipelines.base import Attachment, Layer, OnUnsupported
from watermark.pipelines.diffusion_call import ACTIVE, Call, Codes
from watermark.pipelines.diffusion_found import obstacle
from watermark.pipelines.diffusion_latents import Policy, layout, no_draw, re_sign
from watermark.pipelines.diffusion_power import Power, identity
from watermark.record import Mark, Record

LAYERS = ("noise", "latent")
# Arguments that carry the caller's own noise, and the method they end up in.
OWN = {"latents": "prepare_latents", "audio_latents": "prepare_audio_latents"}


@dataclass(frozen=True, slots=True)
class Plan:
    """The layers of one call, or why it cannot be marked.

    `kept` is the share of the initial noise that reaches the output, where it is small.
    """

    noise: Layer
    latent: Layer
    refusal: str | None = None
    kept: float = 1.0


def parts_of(pipe: Any) -> list[Any]:
    """A pipeline and the pipelines that it is combined from."""
    from diffusers import DiffusionPipeline

    inner = [v for v in vars(pipe).values() if isinstance(v, DiffusionPipeline)]
    return [pipe, *inner]


def schedulers_of(part: Any) -> list[Any]:
    """What samples the output: its `scheduler`, or those of its stages (unCLIP)."""
    own = getattr(part, "scheduler", None)
    if own is not None:
        return [own]
    return [
        value
        for name, value in vars(part).items()
        if name.endswith("_scheduler") and "prior" not in name and value is not None
    ]


@dataclass
class Host:
    """One attachment's side of every call.

    Attributes:
        attachment: where the records go.
        base: the pipeline's own class.
        codes: of its key records.
        layers: the caller's choice; None is `noise`, and `latent` where that is too
            weak.
        policy: what to do with the caller's own latents; None is to re-sign them.
        no_noise: why this class has no noise to mark, or None.
        on_unsupported: as in `attach`.
        latest: the plan of the latest call.
        measured: what was measured on this pipeline, or None.
    """

    attachment: Attachment
    base: type
    codes: Codes
    layers: tuple[str, ...] | None
    policy: Policy | None
    no_noise: str | None
    on_unsupported: OnUnsupported
    latest: Plan | None = None
    measured: Power | None = None

    # --- before ----------------------------------------------------------------------

    def plan(self, pipe: Any, call: Mapping[str, Any]) -> Plan:
        """Which layers mark a call with these arguments (defaults included)."""
        parts = parts_of(pipe)
        # A prior samples an embedding: what makes the picture comes after it.
        last = [p for p in parts if "Prior" not in type(p).__name__] or parts
        schedulers = [each for part in last for each in schedulers_of(part)]
        outlook = scheduler_of.outlook(schedulers, call)
        mixed = next(filter(None, map(scheduler_of.rearranged, last)), None)
        if mixed is not None:
            outlook = scheduler_of.Outlook("low", mixed, 0.0)
        # What is marked for nobody to find is told, and `latent` takes its place.
        unfound = obstacle(pipe, self.base)
        if unfound is not None and outlook.power != "low":
            outlook = scheduler_of.Outlook("unknown", unfound.reason)
        lacking = decode.unavailable(parts)
        off = self.no_noise or _replaced(call, self.policy)
        if self.layers is not None and "noise" not in self.layers:
            off = "layers= leaves it out"
        weak = off or (outlook.reason if outlook.power == "low" else None)

        if self.layers is None:
            lost = unfound.reason if unfound is not None and unfound.encodes else None
            wanted = (weak or lost) is not None
            alone = "noise alone would not do"
            why = f"{alone}: {weak or lost}" if wanted else "noise will do"
        else:
            wanted = "latent" in self.layers
            why = "layers= asks for it" if wanted else "layers= leaves it out"
        if wanted and lacking is not None:
            wanted, why = False, lacking
        latent = Layer("latent", wanted, why, "unknown" if wanted else "none")

        if off is not None:
            noise = Layer("noise", False, off, "none")
        elif weak is not None and not wanted:
            noise = Layer("noise", False, weak, "none")
        else:
            noise = Layer("noise", True, outlook.reason, outlook.power)
        refusal = None
        if not noise.on and not latent.on:
            refusal = f"{weak}, so this call would not be marked by 'noise' ({why})"
        return Plan(noise, latent, refusal, outlook.kept)

    def status(self, pipe: Any) -> tuple[Layer, ...]:
        """The layers of the latest call; before any, of a call by defaults."""
        plan = self.latest
        if plan is None:
            plan = self.plan(pipe, _defaults(self.base.__call__))
        return self._measured(pipe, plan.noise), self._measured(pipe, plan.latent)

    def _measured(self, pipe: Any, layer: Layer) -> Layer:
        """A layer that is on, with the power that was measured, if it was."""
        known = self.measured
        if known is None or not layer.on or known.subject != identity(pipe):
            return layer
        found = known.expected(layer.name)
        if found is None:
            return layer
        return replace(layer, power=found[0], reason=f"{layer.reason}; {found[1]}")

    # --- around ----------------------------------------------------------------------

    def run(
        self, pipe: Any, call: Mapping[str, Any], invoke: Callable[[Call | None], Any]
    ) -> Any:
        """Run a call, check that all of it was marked, and record it.

        Args:
            pipe: the pipeline that was called (a copy may be).
            call: its arguments by name, defaults included.
            invoke: runs it, as the call given or unmarked.

        Raises:
            UnsupportedPipeline: no layer can carry a mark in this call.
            NotMarked: some output carries none after all.
        """
        plan = self.latest = self.plan(pipe, call)
        if plan.refusal is not None:
            if self.on_unsupported == "raise":
                raise UnsupportedPipeline(plan.refusal)
            warnings.warn(
                f"{plan.refusal}: running WITHOUT a mark", UserWarning, stacklevel=4
            )
            output = invoke(None)
            self.publish(pipe, output, [()] * max(1, len(self.samples(output))))
            return output
        own = frozenset(m for n, m in OWN.items() if call.get(n) is not None)
        weak = plan.latent.on and plan.noise.power == "low"
        active = Call(self.codes, plan.noise.on, plan.latent.on, own, weak, plan.kept)
        with contextlib.ExitStack() as stack:
            stack.callback(ACTIVE.reset, ACTIVE.set(active))
            if active.latent:
                stack.enter_context(decode.hooked(parts_of(pipe)))
            output = invoke(active)
        if active.replaced:
            raise NotMarked(
                "a callback left other latents than it was given: the marked noise was "
                "replaced, and nothing is handed over"
            )
        if active.latent and call.get("output_type") == "latent":
            output = self._mark_returned(output, active)
        outputs = len(self.samples(output)) or active.draws
        medium = self.kind(pipe, output)
        if active.draws == 1 and medium != "image":
            outputs = 1
        marks = active.of_outputs(outputs, medium)
        self.publish(pipe, output, marks)
        return output

    def prepare(self, pipe: Any, base: type, name: str, args: Any, kwargs: Any) -> Any:
        """A prepare method of a class, with the noise it draws marked."""
        method = getattr(base, name)
        active = ACTIVE.get()
        if active is None or active.inside:  # by hand, or within another one
            return method(pipe, *args, **kwargs)
        bound = inspect.signature(method).bind(pipe, *args, **kwargs)
        if name == OWN["latents"]:
            active.prepared = (method, bound)
        if not active.noise:
            return method(pipe, *args, **kwargs)
        own = bound.arguments.get("latents")
        if own is not None and name in active.own:
            bound.arguments["latents"] = re_sign(own, active, method, bound)
            return method(*bound.args, **bound.kwargs)
        with active.drawing():
            return method(pipe, *args, **kwargs)

    # --- after -----------------------------------------------------------------------

    def samples(self, output: Any) -> Sequence[Any]:
        """The samples of what the pipeline returned."""
        return output_of.samples(output)

    def kind(self, pipe: Any, output: Any) -> Any:
        """The medium of what it returned."""
        return output_of.kind(pipe, self.base, output)

    def _mark_returned(self, output: Any, active: Call) -> Any:
        """Latents that are returned as such, marked as `decode` would have got them."""
        final = self.samples(output)
        if not isinstance(final, torch.Tensor):
            raise NotMarked(
                f"output_type='latent' returned a {type(final).__name__}, expected a "
                "tensor: 'latent' cannot mark it, and nothing is handed over"
            )
        if active.prepared is not None:
            with contextlib.suppress(UnsupportedPipeline):
                found = layout(*active.prepared)
                if tuple(final.shape[1:]) == found.packed:
                    marked = found.pack(active.mark_latents(found.unpack(final)))
                    return output_of.with_samples(output, marked)
            if final.ndim == 3:  # (batch, tokens, numbers): not as it will be decoded
                raise NotMarked(
                    f"output_type='latent' returned latents of shape "
                    f"{tuple(final.shape)}, and how they are packed is unknown: "
                    "'latent' cannot mark them, and nothing is handed over"
                )
        return output_of.with_samples(output, active.mark_latents(final))

    def publish(
        self, pipe: Any, output: Any, marks: Sequence[tuple[Mark, ...]]
    ) -> None:
        """One record for each output, with the marks that are in it."""
        found = self.samples(output)
        medium = self.kind(pipe, output)
        if len(marks) != len(found):  # a video without a batch axis; or no samples
            found = [found] if len(marks) == 1 else [None] * len(marks)
        name = str(pipe.config.get("_name_or_path") or self.base.__name__)
        record = Record(
            kind=medium,
            provider=self.attachment.provider,
            system=f"diffusers/{self.base.__name__}",
            model=name.replace("\\", "/").rstrip("/").split("/")[-1],
        )
        flagged = [False] * len(found)
        if any(marks):
            checked = any(
                getattr(part, "safety_checker", None) is not None
                for part in parts_of(pipe)
            )
            flagged = output_of.blacked_out(output, len(found), checked=checked)
        records = []
        for sample, own, black in zip(found, marks, flagged, strict=True):
            digests, seen = output_of.recognised(sample, medium)
            made = replace(
                record,
                record_id=Record(kind=medium, provider="").record_id,
                marks=() if black else own,
                content=digests,
                fingerprint=seen,
            )
            records.append(made)
        self.attachment.publish(records, list(found))


def _replaced(call: Mapping[str, Any], policy: Policy | None) -> str | None:
    """Why the caller's own latents leave no noise to mark, or None.

    Raises:
        UnsupportedPipeline: the caller's policy is to refuse them.
    """
    for name in OWN:
        own = call.get(name)
        if own is None:
            continue
        if policy == "error":
            raise UnsupportedPipeline(
                f"{name}= was given, and this attachment refuses it (latents='error'): "
                "pass generator= instead"
            )
        if policy == "respect":
            return f"{name}= is the caller's, and latents='respect' leaves it as it is"
        if call.get("strength") is not None:
            return f"{name}= of a pipeline with strength= is not the noise it adds"
        if isinstance(own, torch.Tensor):
            reason = no_draw(own)
            if reason is not None:
                return reason
    return None


def _defaults(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}
