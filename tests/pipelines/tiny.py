"""Real transformers and diffusers classes from small configs, with random weights.

They prove plumbing only: shapes, dtypes, hooks, generators. What a mark survives is
measured on the trained models in benchmarks/models.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

WORDS = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "photo", "of", "dress", "lighthouse"]


def language_model(vocab: int = 1000) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def tokenizer(length: int = 16) -> Any:
    model = WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    backend = Tokenizer(model)
    backend.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=length,
    )


def clip(width: int = 32, projection: int | None = None) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=width,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        projection_dim=projection or width,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    kind = CLIPTextModel if projection is None else CLIPTextModelWithProjection
    return kind(config).eval()


def autoencoder(channels: int = 4, **more: Any) -> Any:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        **more,
    ).eval()


def unet(cross: int = 32, **more: Any) -> Any:
    return UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=cross,
        norm_num_groups=4,
        **more,
    ).eval()


def stable_diffusion() -> Any:
    torch.manual_seed(0)
    return _quiet(
        StableDiffusionPipeline(
            vae=autoencoder(),
            text_encoder=clip(),
            tokenizer=tokenizer(),
            unet=unet(),
            scheduler=DDIMScheduler(
                clip_sample=False, set_alpha_to_one=False, steps_offset=1
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    )


def stable_diffusion_xl() -> Any:
    torch.manual_seed(0)
    return _quiet(
        StableDiffusionXLPipeline(
            vae=autoencoder(),
            text_encoder=clip(),
            text_encoder_2=clip(projection=32),
            tokenizer=tokenizer(),
            tokenizer_2=tokenizer(),
            unet=unet(
                cross=64,
                attention_head_dim=(2, 4),
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=80,
            ),
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
            ),
            add_watermarker=False,
        )
    )


def stable_diffusion_3() -> Any:
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=1,
        in_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=64,
        pooled_projection_dim=64,
        out_channels=4,
    )
    return _quiet(
        StableDiffusion3Pipeline(
            vae=autoencoder(shift_factor=0.0609, scaling_factor=1.5035),
            transformer=transformer.eval(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            text_encoder=clip(projection=32),
            text_encoder_2=clip(projection=32),
            text_encoder_3=None,
            tokenizer=tokenizer(),
            tokenizer_2=tokenizer(),
            tokenizer_3=None,
        )
    )


def flux() -> Any:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=[4, 4, 8],
    )
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=len(WORDS),
            d_model=32,
            d_kv=8,
            d_ff=37,
            num_layers=1,
            num_heads=4,
        )
    )
    return _quiet(
        FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=autoencoder(shift_factor=0.0609, scaling_factor=1.5035),
            text_encoder=clip(),
            tokenizer=tokenizer(),
            text_encoder_2=t5.eval(),
            tokenizer_2=tokenizer(),
            transformer=transformer.eval(),
        )
    )


def _quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


PIPELINES = {
    "stable_diffusion": stable_diffusion,
    "stable_diffusion_xl": stable_diffusion_xl,
    "stable_diffusion_3": stable_diffusion_3,
    "flux": flux,
}
