r"""An edit as one would write it with diffusers, with the weights of ours.

Its transformer and VAE, and FlowAlign's loop in a dozen lines: three whole
evaluations a step, the noise new at each. It has the collage as its goal, and
no way to read the photo.
"""
import re
from collections.abc import Iterable

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor

from wan.modules.model import WanModel
from wan.modules.vae import WanVAE
from wan.utils.checkpoint import sidecar

# In our names, in order; `\1` is what stands in brackets.
TRANSFORMER = (
    (r'^text_embedding\.0', 'condition_embedder.text_embedder.linear_1'),
    (r'^text_embedding\.2', 'condition_embedder.text_embedder.linear_2'),
    (r'^time_embedding\.0', 'condition_embedder.time_embedder.linear_1'),
    (r'^time_embedding\.2', 'condition_embedder.time_embedder.linear_2'),
    (r'^time_projection\.1', 'condition_embedder.time_proj'),
    (r'^head\.head', 'proj_out'),
    (r'(^head\.|\.)modulation$', r'\1scale_shift_table'),
    (r'^head\.', ''),
    (r'self_attn', 'attn1'), (r'cross_attn', 'attn2'),
    (r'(attn\d)\.([qkv])\.', r'\1.to_\2.'),
    (r'(attn\d)\.o\.', r'\1.to_out.0.'),
    (r'norm3', 'norm2'), (r'ffn\.0', 'ffn.net.0.proj'),
    (r'ffn\.2', 'ffn.net.2'))
RESIDUAL = {'0': 'norm1', '2': 'conv1', '3': 'norm2', '6': 'conv2'}
MIDDLE = 'resnets.0', 'attentions.0', 'resnets.1'
VAE = (
    (r'residual\.(\d)', lambda m: RESIDUAL[m[1]]),
    (r'middle\.(\d)', lambda m: f'mid_block.{MIDDLE[int(m[1])]}'),
    (r'downsamples', 'down_blocks'), (r'shortcut', 'conv_shortcut'),
    (r'head\.0', 'norm_out'), (r'head\.2', 'conv_out'),
    (r'^(encoder|decoder)\.conv1', r'\1.conv_in'),
    (r'^conv1', 'quant_conv'), (r'^conv2', 'post_quant_conv'))


def renamed(state: dict[str, Tensor], names) -> dict[str, Tensor]:
    r"""A state dict under diffusers' names."""
    out = {}
    for key, value in state.items():
        for pattern, name in names:
            key = re.sub(pattern, name, key)
        out[key] = value
    return out


def transformer_of(ours: WanModel) -> WanTransformer3DModel:
    r"""Diffusers' transformer for text to video, with our weights."""
    theirs = WanTransformer3DModel(
        num_attention_heads=ours.num_heads,
        attention_head_dim=ours.dim // ours.num_heads, in_channels=ours.in_dim,
        out_channels=ours.out_dim, text_dim=ours.text_dim,
        freq_dim=ours.freq_dim, ffn_dim=ours.ffn_dim,
        num_layers=ours.num_layers, cross_attn_norm=True)
    theirs.load_state_dict(renamed(ours.state_dict(), TRANSFORMER))
    return theirs.to(next(ours.parameters()).device).eval()


def vae_of(ours: WanVAE, path) -> AutoencoderKLWan:
    r"""Diffusers' VAE with our weights.

    Args:
        path: of the weights, beside which their sizes stand.
    """
    sizes = sidecar(path)
    blocks = sizes.get('num_res_blocks', 2)
    each = blocks + 2  # residual blocks and, but for the last, an upsampler

    def block(match):
        stage, place = divmod(int(match[1]), each)
        return f'up_blocks.{stage}.' + (
            'upsamplers.0' if place == each - 1 else f'resnets.{place}')

    theirs = AutoencoderKLWan(
        base_dim=sizes.get('dim', 96), z_dim=ours.mean.numel(),
        num_res_blocks=blocks, latents_mean=ours.mean.tolist(),
        latents_std=ours.std.tolist(), **{
            name: list(sizes[name])
            for name in ('dim_mult', 'temperal_downsample') if name in sizes})
    theirs.load_state_dict(renamed(
        ours.model.state_dict(), ((r'upsamples\.(\d+)', block), *VAE)))
    return theirs.to(ours.mean.device).eval()


class Plain:
    r"""The networks, and what is done with them.

    Args:
        transformer, vae: diffusers' own.
        text_len: tokens that prompts are padded to.
    """

    def __init__(
        self, transformer: WanTransformer3DModel, vae: AutoencoderKLWan,
        text_len: int,
    ):
        self.transformer, self.vae = transformer, vae
        self.text_len = text_len
        self.mean, self.std = (
            torch.tensor(values, device=vae.device).view(1, -1, 1, 1, 1)
            for values in (vae.config.latents_mean, vae.config.latents_std))

    def encode(self, video: Tensor) -> Tensor:
        r"""[3, F, H, W] to [1, C, T, h, w]."""
        mean = self.vae.encode(
            video[None].to(self.mean)).latent_dist.mode()
        return (mean - self.mean) / self.std

    def decode(self, latent: Tensor) -> Tensor:
        r"""[1, C, T, h, w] to [3, F, H, W]."""
        return self.vae.decode(latent * self.std + self.mean).sample[0]

    def velocity(self, x: Tensor, sigma: float, text: Tensor) -> Tensor:
        r"""Of [1, C, T, h, w] with a prompt [L, C]."""
        padded = x.new_zeros(1, self.text_len, text.size(1))
        padded[0, :len(text)] = text
        return self.transformer(
            hidden_states=x, timestep=x.new_tensor([1000. * sigma]),
            encoder_hidden_states=padded, return_dict=False)[0]

    def flowalign(
        self, source: Tensor, texts: dict[str, Tensor], sigmas: list[float],
        noises: Iterable[Tensor], scale: float, zeta: Tensor, goal: Tensor,
    ) -> Tensor:
        r"""The loop; arguments as of `wan.flowalign.flowalign`, [1, ...]."""
        x = source
        for sigma, below, noise in zip(
                sigmas, sigmas[1:], noises, strict=False):
            q = (1 - sigma) * source + sigma * noise
            p = q + x - source
            v_q = self.velocity(q, sigma, texts['source'])
            v_s = self.velocity(p, sigma, texts['source'])
            v_t = self.velocity(p, sigma, texts['target'])
            v_p = v_s + scale * (v_t - v_s)
            x = x + (below - sigma) * (v_p - v_q) + zeta * (
                (q - sigma * v_q) + (goal - source) - (p - sigma * v_p))
        return x
