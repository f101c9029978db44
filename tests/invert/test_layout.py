"""A layout is learned from dry runs alone, and nothing else than a layout is."""

from __future__ import annotations

import pytest
import torch
from diffusers import Flux2Pipeline

from watermark.errors import UnsupportedPipeline
from watermark.invert.layout import DryRun, learn

DRAWN = (1, 16, 8, 8)
Shapes = list[tuple[int, ...]]


def draw(value: torch.Tensor | None) -> torch.Tensor:
    if value is None:
        return torch.randn(DRAWN, generator=torch.Generator().manual_seed(3))
    return value


def flux2(dtype: torch.dtype = torch.float32) -> DryRun:
    """Packed, scaled by a batch norm of the packed channels, and unpacked."""
    generator = torch.Generator().manual_seed(5)
    mean = torch.randn(1, 16, 1, 1, generator=generator)
    std = torch.rand(1, 16, 1, 1, generator=generator) + 0.5

    def dry(value: torch.Tensor | None) -> tuple[torch.Tensor, Shapes]:
        latents = draw(value).to(dtype) * std.to(dtype) + mean.to(dtype)
        return Flux2Pipeline._unpatchify_latents(latents), [DRAWN]

    return dry


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_are_followed_wherever_they_are_moved(dtype: torch.dtype) -> None:
    layout = learn(flux2(dtype))
    z = draw(None)
    decoded = flux2(dtype)(z)[0]

    assert layout.order is not None
    assert (layout.drawn, layout.decoded) == (DRAWN, (1, 4, 16, 16))
    error = (layout.back(decoded) - z).abs().max()
    assert float(error) < (1e-5 if dtype == torch.float32 else 0.1)


def test_what_is_moved_far_is_found_too() -> None:
    """More numbers than one digit can tell."""
    shape, place = (1, 4, 64, 64), torch.randperm(1 << 14)

    def dry(value: torch.Tensor | None) -> tuple[torch.Tensor, Shapes]:
        drawn = torch.zeros(shape) if value is None else value
        return 3 * drawn.reshape(-1)[place].reshape(1, 1, 128, 128), [shape]

    layout = learn(dry)

    assert layout.order is not None
    assert torch.equal(layout.order, place)


def test_one_scale_for_each_channel_takes_two_runs() -> None:
    runs = []

    def dry(value: torch.Tensor | None) -> tuple[torch.Tensor, Shapes]:
        runs.append(1)
        scale = torch.arange(1.0, 17).reshape(1, 16, 1, 1)
        return draw(value) * scale - 2, [(1, 3), DRAWN, (7,)]

    layout = learn(dry)

    assert layout.order is None
    assert len(runs) == 2
    assert torch.allclose(layout.slope[::64], torch.arange(1.0, 17), rtol=1e-5)
    assert torch.allclose(layout.offset, torch.tensor(-2.0), atol=1e-4)


def test_numbers_that_are_mixed_are_refused() -> None:
    def dry(value: torch.Tensor | None) -> tuple[torch.Tensor, Shapes]:
        z = draw(value)
        return z + z.roll(1, -1), [DRAWN]

    with pytest.raises(UnsupportedPipeline, match=r"permutation|scaling"):
        learn(dry)


def test_numbers_that_are_bent_are_refused() -> None:
    with pytest.raises(UnsupportedPipeline, match=r"permutation|scaling"):
        learn(lambda value: (torch.tanh(draw(value)), [DRAWN]))


def test_numbers_that_are_lost_are_refused() -> None:
    with pytest.raises(UnsupportedPipeline, match="not one number for each"):
        learn(lambda value: (draw(value)[:, :3], [DRAWN]))
    with pytest.raises(UnsupportedPipeline, match=r"permutation|scaling"):
        learn(lambda value: (torch.zeros(DRAWN), [DRAWN]))


def test_a_first_frame_that_is_given_is_left_out() -> None:
    """Films made of a picture: where it is put in, nothing is known of the draw."""
    drawn = (1, 6, 4, 8, 8)  # (batch, frames, channels, height, width)

    def dry(value: torch.Tensor | None) -> tuple[torch.Tensor, Shapes]:
        z = (torch.zeros(drawn) if value is None else value).clone()
        z[:, 0] = 7.0
        z[:, 1] = z[:, 1] / z[:, 2:].std()  # normalised by the others
        return 3 * z.transpose(1, 2) - 1, [drawn, (1, 4, 1, 8, 8)]

    layout = learn(dry)
    z = torch.randn(drawn, generator=torch.Generator().manual_seed(3))
    back = layout.back(dry(z)[0])

    assert torch.allclose(back[:, 2:], z[:, 2:], atol=1e-4)
    assert not back[:, 0].any()
    assert float((back[:, 1] == 0).float().mean()) > 0.9


def test_a_draw_of_another_shape_and_the_same_size_is_passed_over() -> None:
    """The posterior of a picture that is given is drawn as it is decoded."""
    drawn, other = (1, 1, 16, 8, 8), (1, 16, 1, 8, 8)

    def dry(value: torch.Tensor | None) -> tuple[torch.Tensor, Shapes]:
        if value is None or value.shape != drawn:  # drawn by the pipeline itself
            value = torch.randn(drawn)
        return value.transpose(1, 2) * 2, [drawn, other]

    assert learn(dry).drawn == drawn


def test_frames_that_are_mostly_given_are_refused() -> None:
    def dry(value: torch.Tensor | None) -> tuple[torch.Tensor, Shapes]:
        z = draw(value).clone()
        z[:, :9] = 0.5
        return z, [DRAWN]

    with pytest.raises(UnsupportedPipeline, match="permutation"):
        learn(dry)
