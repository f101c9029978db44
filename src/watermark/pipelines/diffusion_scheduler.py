"""How much of the initial noise reaches the output: sampler and strength.

A deterministic sampler carries all of it, and inversion finds it again. One that adds
fresh noise in its steps covers it. A picture that is only partly noised (img2img under
a low strength) lets little of it in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from watermark.pipelines import diffusion_draw

Power = Literal["high", "low", "unknown"]
# Share of the noise in what sampling starts from, by norm: below, inversion of a
# picture loses too much of the rest.
ENOUGH = 0.7

Reason = Callable[[Mapping[str, Any], Mapping[str, Any]], str | None]


def _eta(config: Mapping[str, Any], call: Mapping[str, Any]) -> str | None:
    eta = call.get("eta")
    return f"eta={eta}" if eta else None


def _sde(config: Mapping[str, Any], call: Mapping[str, Any]) -> str | None:
    kind = str(config.get("algorithm_type", ""))
    return f"algorithm_type={kind!r} is an SDE solver" if "sde" in kind else None


def _sampled(config: Mapping[str, Any], call: Mapping[str, Any]) -> str | None:
    return "stochastic_sampling=True" if config.get("stochastic_sampling") else None


def _churn(config: Mapping[str, Any], call: Mapping[str, Any]) -> str | None:
    churn = call.get("s_churn") or config.get("s_churn")
    return f"s_churn={churn}" if churn else None


def _ratio(config: Mapping[str, Any], call: Mapping[str, Any]) -> str | None:
    return None if config.get("eta") == 0 else f"eta={config.get('eta')}"


# Their step() can draw fresh noise, and does under these settings only.
_CONDITIONS: dict[str, Reason] = {
    "DDIMScheduler": _eta,
    "DDIMParallelScheduler": _eta,
    "DPMSolverMultistepScheduler": _sde,
    "DPMSolverSinglestepScheduler": _sde,
    "EDMDPMSolverMultistepScheduler": _sde,
    "EulerDiscreteScheduler": _churn,
    "EDMEulerScheduler": _churn,
    "FlowMatchEulerDiscreteScheduler": _sampled,
    "FlowMatchHeunDiscreteScheduler": _churn,
    "LTXEulerAncestralRFScheduler": _ratio,
    "KarrasVeScheduler": _churn,  # in add_noise_to_input, not in step
}

# Their noise comes from an object of another library, which no code of theirs shows.
_ALWAYS = frozenset({"DPMSolverSDEScheduler", "CosineDPMSolverMultistepScheduler"})


def _sampler(name: str) -> bool:
    return name == "noise_sampler" or "BrownianTree" in name


@dataclass(frozen=True, slots=True)
class Outlook:
    """What to expect of `noise` in one call, and why.

    Attributes:
        power: of detection.
        reason: why that much.
        kept: share of the initial noise in what sampling ends in, by norm; 0 where
            fresh noise covers it, and what is left of it cannot be told.
    """

    power: Power
    reason: str
    kept: float = 1.0


def outlook(schedulers: Iterable[Any], call: Mapping[str, Any]) -> Outlook:
    """What to expect of `noise` under these schedulers and arguments.

    Args:
        schedulers: of the pipeline and its parts.
        call: arguments by name, defaults included.
    """
    known = list(schedulers)
    for scheduler in known:
        reason = stochastic(scheduler, call)
        if reason is not None:
            return Outlook("low", reason, 0.0)
    if call.get("denoising_start") is not None:
        goes_on = "denoising_start= goes on from the latents it is given"
        return Outlook("low", goes_on, 0.0)
    strength = call.get("strength")
    if isinstance(strength, int | float) and known:
        kept = min(share(scheduler, float(strength)) for scheduler in known)
        about = f"strength={strength:g} starts from {kept:.0%} noise (by norm)"
        if kept < ENOUGH:
            return Outlook("low", f"{about}, expected at least {ENOUGH:.0%}", kept)
        if call.get("mask_image") is not None:
            return Outlook("unknown", f"{about}, but only inside the mask")
        return Outlook("high", about)
    if call.get("mask_image") is not None:
        return Outlook("unknown", "the initial noise reaches only the masked part")
    if not known:
        return Outlook("unknown", "the pipeline shows no scheduler")
    names = ", ".join(type(scheduler).__name__ for scheduler in known)
    return Outlook("high", f"{names} is deterministic from pure noise")


def rearranged(pipe: Any) -> str | None:
    """Why a pipeline replaces or shuffles the noise it has drawn, or None.

    FreeInit (Wu et al. 2023) mixes it with fresh noise and samples again; FreeNoise
    (Qiu et al. 2023) repeats the frames of one window, shuffled.
    """
    if getattr(pipe, "free_init_enabled", False):
        return "FreeInit replaces most of the initial noise by fresh noise"
    if getattr(pipe, "free_noise_enabled", False):
        return "FreeNoise shuffles the initial noise after it is drawn"
    return None


def stochastic(scheduler: Any, call: Mapping[str, Any]) -> str | None:
    """Why the sampler covers the initial noise with fresh noise, or None.

    A class of diffusers that is in no table is judged by the code of its `step`; one
    from elsewhere cannot be, and is taken for stochastic.
    """
    kind = type(scheduler)
    config = getattr(scheduler, "config", {})
    if any(known.__name__ in _ALWAYS for known in kind.__mro__) or (
        diffusion_draw.uses(getattr(kind, "step", None), _sampler, kind)
    ):
        return f"{kind.__name__} draws new noise in its steps (a Brownian tree)"
    for known in kind.__mro__:
        condition = _CONDITIONS.get(known.__name__)
        if condition is not None and known.__module__.startswith("diffusers."):
            reason = condition(config, call)
            return reason and f"{kind.__name__} draws new noise in its steps ({reason})"
    if not kind.__module__.startswith("diffusers."):
        return f"the scheduler {kind.__name__} is not known to be deterministic"
    if not hasattr(kind, "step") or diffusion_draw.draws(kind.step, kind):
        return (
            f"{kind.__name__} draws new noise in its steps; a deterministic one, such "
            "as DDIM, DPMSolverMultistep or FlowMatchEulerDiscrete, keeps the mark"
        )
    return None


def share(scheduler: Any, strength: float) -> float:
    """Norm of the noise in x_t at a strength, over the norm of all of x_t.

    With x_t = a x_0 + b z and |x_0| ~ |z|, b / sqrt(a^2 + b^2). A diffusion schedule
    has a^2 + b^2 = 1; flow matching has b = 1 - a = strength.
    """
    strength = min(max(strength, 0.0), 1.0)
    cumulative = getattr(scheduler, "alphas_cumprod", None)
    if cumulative is None:
        whole = (strength**2 + (1 - strength) ** 2) ** 0.5
        return strength / float(whole)
    steps = len(cumulative)
    step = min(int(strength * steps), steps) - 1
    return float((1 - cumulative[step]) ** 0.5) if step >= 0 else 0.0
