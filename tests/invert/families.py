"""Real pipelines of further families from small configs, with random weights.

Packed latents in a film's autoencoder (Qwen-Image), films (Wan), films whose latents
are packed (LTX), pictures from pictures. Their text encoders are stand-ins: no model
here says anything of a prompt.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    AutoencoderKLQwenImage,
    AutoencoderKLWan,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    StableDiffusionImg2ImgPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from tests.pipelines import tiny
from transformers import T5Config, T5EncoderModel

MEANS, SPREADS = [0.3, -0.2, 0.1, 0.5], [1.5, 0.7, 2.0, 1.0]


def qwen_image() -> Any:
    """Draws (1, 1, 4, h, w), packs 2x2 blocks, decodes (1, 4, 1, h, w)."""
    torch.manual_seed(0)
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=MEANS,
        latents_std=SPREADS,
    )
    return _quiet(
        QwenImagePipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=vae.eval(),
            text_encoder=tiny.language_model(vocab=len(tiny.WORDS)),
            tokenizer=tiny.tokenizer(64),
            transformer=transformer.eval(),
        )
    )


def wan() -> Any:
    """Draws and decodes (1, 4, frames, h, w)."""
    torch.manual_seed(0)
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=32,
        freq_dim=16,
        ffn_dim=32,
        num_layers=1,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    vae = AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=MEANS,
        latents_std=SPREADS,
    )
    return _quiet(
        WanPipeline(
            tokenizer=tiny.tokenizer(),
            text_encoder=_t5(),
            vae=vae.eval(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            transformer=transformer.eval(),
        )
    )


def ltx() -> Any:
    """Draws (1, 8, frames, h, w), packs to tokens, scales by buffers of the VAE."""
    torch.manual_seed(0)
    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        patch_size=1,
        patch_size_t=1,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=1,
        caption_channels=32,
    )
    vae = AutoencoderKLLTXVideo(
        in_channels=3,
        out_channels=3,
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False, False, False, False, False),
        upsample_residual=(False, False, False, False),
        upsample_factor=(1, 1, 1, 1),
        timestep_conditioning=False,
        patch_size=1,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    return _quiet(
        LTXPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=vae.eval(),
            text_encoder=_t5(),
            tokenizer=tiny.tokenizer(),
            transformer=transformer.eval(),
        )
    )


def img2img() -> Any:
    """Starts from a picture."""
    parts = tiny.stable_diffusion().components
    return _quiet(
        StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    )


def solver() -> Any:
    """DPM-Solver++ instead of DDIM."""
    pipe = tiny.stable_diffusion()
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    return pipe


def _t5() -> Any:
    config = T5Config(
        vocab_size=len(tiny.WORDS),
        d_model=32,
        d_kv=8,
        d_ff=37,
        num_layers=1,
        num_heads=4,
    )
    return T5EncoderModel(config).eval()


def _quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
