r"""The diffusion transformer of Wan2.1 (arXiv 2503.20314, section 4.2)."""
import json
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange

from ..utils.checkpoint import CheckpointError, load_weights, weight_files
from .attention import attention

__all__ = ['WanModel', 'TextContext']

T5_CONTEXT_TOKEN_NUMBER = 512
FIRST_LAST_FRAME_CONTEXT_TOKEN_NUMBER = 257 * 2

MODEL_TYPES = ('t2v', 'i2v', 'flf2v', 'vace')

# Called by block i's self-attention as
# slot(q, k, v, x, grid_sizes, rotation, q_rotated) -> x, all [B, L, N, D] but
# grid_sizes [B, 3] and rotation [B or 1, L, 1, D / 2]; q and k are normed but
# not rotated, x is the attention's result.
RefSlot = Callable[..., torch.Tensor]


def sinusoidal_embedding_1d(dim: int, position: torch.Tensor) -> torch.Tensor:
    r"""Cosines, then sines, of positions at geometric frequencies.

    Args:
        dim: even size of the embedding.
        position: [B], timesteps in [0, 1000], whole or fractional.

    Returns:
        [B, dim] in float64.
    """
    if position.device.type == 'mps':  # has no float64
        position = position.cpu()
    half = dim // 2
    scale = torch.arange(half, device=position.device).double().div(-half)
    angle = torch.outer(position.double(), torch.pow(10000., scale))
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def rope_params(
    max_seq_len: int, dim: int, theta: float = 10000
) -> torch.Tensor:
    r"""Unit rotations of one axis, [max_seq_len, dim / 2] in complex128.

    Always real numbers on the CPU, also when a model is built on the meta
    device: the table is no parameter and no checkpoint brings it.
    """
    exponent = torch.arange(0, dim, 2, device='cpu').double() / dim
    angle = torch.outer(
        torch.arange(max_seq_len, device='cpu').double(),
        theta ** -exponent)
    return torch.polar(torch.ones_like(angle), angle)


@lru_cache(maxsize=4)
def rotation_table(
    grids: tuple[tuple[int, int, int], ...],
    freqs: torch.Tensor,
    seq_len: int,
    device: torch.device,
) -> torch.Tensor:
    r"""The rotation of every token, made once per shape for all layers.

    Args:
        grids: (frames, rows, columns) in tokens of each sample.
        freqs: [P, D / 2], the tables of the three axes side by side.
        seq_len: length to fill up to; tokens past a grid are not rotated.

    Returns:
        [B, seq_len, 1, D / 2] in complex64.

    Raises:
        ValueError: a grid axis is longer than the tables.
    """
    half = freqs.size(1)
    sizes = [half - 2 * (half // 3), half // 3, half // 3]
    tables = []
    # A table made while inferring must stay usable in a training step.
    with torch.inference_mode(False):
        for grid in grids:
            if max(grid) > freqs.size(0):
                raise ValueError(
                    f'Token grid {grid} exceeds {freqs.size(0)} positions.')
            axes = [
                part[:n].view([-1 if i == axis else 1 for i in range(3)]
                              + [part.size(1)]).expand(*grid, -1)
                for axis, (part, n) in enumerate(
                    zip(freqs.split(sizes, dim=1), grid, strict=True))
            ]
            table = torch.cat(axes, dim=-1).flatten(0, 2)
            tables.append(F.pad(
                torch.view_as_real(table),
                (0, 0, 0, 0, 0, seq_len - table.size(0))))
            tables[-1][table.size(0):, :, 0] = 1
        stacked = torch.view_as_complex(torch.stack(tables).float())
        return stacked.unsqueeze(2).to(device)


def rotate(
    x: torch.Tensor, table: torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    r"""Rotate pairs of adjacent channels.

    Args:
        x: [B, L, N, D].
        table: [B or 1, L, 1, D / 2], complex64.
        dtype: of the result, float32 if not given.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table).flatten(-2).to(
        dtype or torch.float32)


def rope_apply(
    x: torch.Tensor, grid_sizes: torch.Tensor, freqs: torch.Tensor
) -> torch.Tensor:
    r"""Rotate tokens by their place in the video (RoFormer, 2104.09864).

    Args:
        x: [B, L, N, D].
        grid_sizes: [B, 3], frames, rows and columns of each sample's tokens.
        freqs: [P, D / 2] complex, the tables of the three axes side by side.

    Returns:
        [B, L, N, D] in float32; tokens past a sample's grid are unchanged.
    """
    return rotate(x, _rotation(x, grid_sizes, freqs))


def _rotation(x, grid_sizes, freqs):
    grids = tuple(map(tuple, grid_sizes.tolist()))
    # Samples of one shape share one row of the table.
    grids = grids[:1] if len(set(grids)) == 1 else grids
    return rotation_table(grids, freqs.cpu(), x.size(1), x.device)


def _full_precision(device: torch.device):
    r"""Context in which a caller's autocast does not reach."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


class TextContext(list):
    r"""Prompt embeddings that remember what a model has made of them.

    A list of [L, C] tensors, one per sample, to be given to `WanModel` in
    place of a plain list. The text does not change while a video is sampled,
    so its embedding and every block's keys and values are computed at the
    first forward and kept: 2 * layers * B * text_len * dim values, 94 MB a
    prompt for the 1.3B model in bfloat16. It belongs to one model (and, for
    image to video, to one image).
    """

    def __init__(self, embeddings: Sequence[torch.Tensor]):
        super().__init__(embeddings)
        self.embedded: torch.Tensor | None = None
        self.projected: dict[nn.Module, tuple[torch.Tensor, ...]] = {}

    def keys_values(
        self, attn: nn.Module, context: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        r"""What `attn.keys_values(context)` gave the first time."""
        if attn not in self.projected:
            self.projected[attn] = attn.keys_values(context)
        return self.projected[attn]

    def observe(self, attn: nn.Module, q: torch.Tensor) -> None:
        r"""Sees the queries [B, L, N, D] of every cross-attention."""


class WanRMSNorm(nn.Module):
    r"""RMS norm over all channels, before they are split into heads."""

    def __init__(self, dim: int, eps: float = 1e-5):
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        r"""[B, L, C] -> [B, L, C]; statistics in float32."""
        x = x.float()
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = torch.rsqrt(norm.square() / self.dim + self.eps)
        return (x * scale).mul_(self.weight)


class WanLayerNorm(nn.LayerNorm):
    r"""Layer norm in float32 that returns its input's dtype."""

    def __init__(
        self, dim: int, eps: float = 1e-6, elementwise_affine: bool = False
    ):
        super().__init__(dim, eps=eps, elementwise_affine=elementwise_affine)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        r"""[B, L, C] -> [B, L, C]."""
        weight, bias = (
            p if p is None else p.float() for p in (self.weight, self.bias))
        return F.layer_norm(
            x.float(), self.normalized_shape, weight, bias,
            self.eps).type_as(x)


class WanSelfAttention(nn.Module):
    r"""Multi-head self-attention with QK norm and three-axis RoPE."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: tuple[int, int] = (-1, -1),
        qk_norm: bool = True,
        eps: float = 1e-6,
    ):
        if dim % num_heads or dim // num_heads % 2:
            raise ValueError(
                f'dim {dim} must split into {num_heads} heads of even size.')
        super().__init__()
        self.dim = dim
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.window_size = window_size
        self.qk_norm = qk_norm
        self.eps = eps

        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)
        self.norm_q = WanRMSNorm(dim, eps=eps) if qk_norm else nn.Identity()
        self.norm_k = WanRMSNorm(dim, eps=eps) if qk_norm else nn.Identity()

    def heads(self, x: torch.Tensor) -> torch.Tensor:
        r"""[B, L, N * D] -> [B, L, N, D]."""
        return x.unflatten(2, (self.num_heads, self.head_dim))

    def out(self, x: torch.Tensor) -> torch.Tensor:
        r"""[B, L, N, D] -> [B, L, N * D], mixed by the output projection."""
        return self.o(x.flatten(2).to(self.o.weight.dtype))

    def forward(
        self,
        x: torch.Tensor,
        seq_lens: torch.Tensor | None,
        grid_sizes: torch.Tensor,
        freqs: torch.Tensor,
        ref: RefSlot | None = None,
    ) -> torch.Tensor:
        r"""Attend within each sample.

        Args:
            x: [B, L, C].
            seq_lens: [B], true lengths; None when every sample is full.
            grid_sizes: [B, 3], frames, rows and columns in tokens.
            freqs: upstream's [P, D / 2] tables, or the [B or 1, L, 1, D / 2]
                rotation of every token that `WanModel` shares between layers.
            ref: reference slot of this block.

        Returns:
            [B, L, C].
        """
        if freqs.ndim == 2:
            freqs = _rotation(x, grid_sizes, freqs)
        x = x.to(self.q.weight.dtype)
        q = self.heads(self.norm_q(self.q(x)))
        k = self.heads(self.norm_k(self.k(x)))
        v = self.heads(self.v(x))
        q_rotated = rotate(q, freqs, v.dtype)
        x = attention(
            q_rotated, rotate(k, freqs, v.dtype), v,
            k_lens=seq_lens, window_size=self.window_size)
        if ref is not None:
            x = ref(q, k, v, x, grid_sizes, freqs, q_rotated)
        return self.out(x)


class WanT2VCrossAttention(WanSelfAttention):
    r"""Attention of the video's tokens to the text."""

    def keys_values(self, context: torch.Tensor) -> tuple[torch.Tensor, ...]:
        r"""[B, Lt, C] -> k and v, each [B, Lt, N, D]."""
        context = context.to(self.k.weight.dtype)
        k = self.heads(self.norm_k(self.k(context)))
        v = self.heads(self.v(context))
        return k.to(v.dtype), v

    def forward(
        self,
        x: torch.Tensor,
        context: torch.Tensor,
        context_lens: torch.Tensor | None,
        cache: TextContext | None = None,
    ) -> torch.Tensor:
        r"""[B, L, C] and context [B, Lt, C] -> [B, L, C].

        `context_lens` [B] are true lengths of the text, None for all of it.
        """
        q = self.heads(self.norm_q(self.q(x.to(self.q.weight.dtype))))
        if cache is None:
            kv = self.keys_values(context)
        else:
            kv = cache.keys_values(self, context)
            cache.observe(self, q)
        return self.out(self.attend(q, *kv, context_lens))

    def attend(self, q, k, v, context_lens):
        r"""Text attention alone; image to video adds its own."""
        return attention(q.to(v.dtype), k, v, k_lens=context_lens)


class WanI2VCrossAttention(WanT2VCrossAttention):
    r"""Attention to the text plus attention to the image's tokens."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: tuple[int, int] = (-1, -1),
        qk_norm: bool = True,
        eps: float = 1e-6,
    ):
        super().__init__(dim, num_heads, window_size, qk_norm, eps)
        self.k_img = nn.Linear(dim, dim)
        self.v_img = nn.Linear(dim, dim)
        self.norm_k_img = \
            WanRMSNorm(dim, eps=eps) if qk_norm else nn.Identity()

    def keys_values(self, context: torch.Tensor) -> tuple[torch.Tensor, ...]:
        r"""[B, Li + 512, C] -> k, v of the text and k, v of the image."""
        image = context[:, :-T5_CONTEXT_TOKEN_NUMBER]
        image = image.to(self.k_img.weight.dtype)
        k_img = self.heads(self.norm_k_img(self.k_img(image)))
        v_img = self.heads(self.v_img(image))
        text = context[:, -T5_CONTEXT_TOKEN_NUMBER:]
        return *super().keys_values(text), k_img.to(v_img.dtype), v_img

    def attend(self, q, k, v, k_img, v_img, context_lens):
        r"""Both results are added before the one output projection."""
        return super().attend(q, k, v, context_lens) + attention(
            q.to(v.dtype), k_img, v_img)


WAN_CROSSATTENTION_CLASSES = {
    't2v_cross_attn': WanT2VCrossAttention,
    'i2v_cross_attn': WanI2VCrossAttention,
}


class InplaceGELU(nn.GELU):
    r"""GELU that overwrites its input, the largest tensor of a forward."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        r"""Any shape to the same shape."""
        return torch.ops.aten.gelu_(x, approximate=self.approximate)


class WanAttentionBlock(nn.Module):
    r"""Self-attention, cross-attention and FFN, modulated by the timestep."""

    def __init__(
        self,
        cross_attn_type: str,
        dim: int,
        ffn_dim: int,
        num_heads: int,
        window_size: tuple[int, int] = (-1, -1),
        qk_norm: bool = True,
        cross_attn_norm: bool = False,
        eps: float = 1e-6,
    ):
        super().__init__()
        self.dim = dim
        self.ffn_dim = ffn_dim
        self.num_heads = num_heads
        self.window_size = window_size
        self.qk_norm = qk_norm
        self.cross_attn_norm = cross_attn_norm
        self.eps = eps

        self.norm1 = WanLayerNorm(dim, eps)
        self.self_attn = WanSelfAttention(
            dim, num_heads, window_size, qk_norm, eps)
        self.norm3 = WanLayerNorm(dim, eps, elementwise_affine=True) \
            if cross_attn_norm else nn.Identity()
        self.cross_attn = WAN_CROSSATTENTION_CLASSES[cross_attn_type](
            dim, num_heads, (-1, -1), qk_norm, eps)
        self.norm2 = WanLayerNorm(dim, eps)
        self.ffn = nn.Sequential(
            nn.Linear(dim, ffn_dim), InplaceGELU(approximate='tanh'),
            nn.Linear(ffn_dim, dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(
        self,
        x: torch.Tensor,
        e: torch.Tensor,
        seq_lens: torch.Tensor | None,
        grid_sizes: torch.Tensor,
        freqs: torch.Tensor,
        context: torch.Tensor,
        context_lens: torch.Tensor | None,
        ref: RefSlot | None = None,
        cache: TextContext | None = None,
    ) -> torch.Tensor:
        r"""One block.

        Args:
            x: [B, L, C].
            e: [B, 6, C], float32, the projected timestep.
            seq_lens, grid_sizes, freqs, ref: see `WanSelfAttention`.
            context: [B, Lt, C], embedded text (behind the image's tokens).
            context_lens: [B] or None for the whole context.
            cache: keeps the context's keys and values between calls.

        Returns:
            [B, L, C] in float32: the residual stream is never rounded.
        """
        with _full_precision(x.device):
            shift1, scale1, gate1, shift2, scale2, gate2 = (
                self.modulation.float() + e).chunk(6, dim=1)
        y = self.self_attn(
            modulate(self.norm1(x), scale1, shift1), seq_lens, grid_sizes,
            freqs, ref)
        x = gated(x, y, gate1)
        x = x + self.cross_attn(self.norm3(x), context, context_lens, cache)
        y = modulate(self.norm2(x), scale2, shift2)
        y = self.ffn(y.to(self.ffn[0].weight.dtype))
        return gated(x, y, gate2)


def modulate(x, scale, shift):
    r"""x * (1 + scale) + shift in float32, x [B, L, C], others [B, 1, C].

    Overwrites a float32 x: fresh memory costs more than the arithmetic.
    """
    return x.float().mul_(1 + scale).add_(shift)


def gated(x, y, gate):
    r"""x + y * gate in float32, x and y [B, L, C], gate [B, 1, C]."""
    return torch.addcmul(x.float(), y.float(), gate)


class Head(nn.Module):
    r"""From tokens to the values of their patches, in float32."""

    def __init__(
        self,
        dim: int,
        out_dim: int,
        patch_size: tuple[int, int, int],
        eps: float = 1e-6,
    ):
        super().__init__()
        self.dim = dim
        self.out_dim = out_dim
        self.patch_size = patch_size
        self.eps = eps
        self.norm = WanLayerNorm(dim, eps)
        self.head = nn.Linear(dim, math.prod(patch_size) * out_dim)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)

    def forward(self, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        r"""x [B, L, C], e [B, C] float32 -> [B, L, patch volume * out_dim]."""
        with _full_precision(x.device):
            shift, scale = (
                self.modulation.float() + e.unsqueeze(1)).chunk(2, dim=1)
            x = modulate(self.norm(x), scale, shift)
            return self.head(x.to(self.head.weight.dtype))


class MLPProj(nn.Module):
    r"""CLIP image tokens to the model's width."""

    def __init__(self, in_dim: int, out_dim: int, flf_pos_emb: bool = False):
        super().__init__()
        self.proj = nn.Sequential(
            nn.LayerNorm(in_dim), nn.Linear(in_dim, in_dim), nn.GELU(),
            nn.Linear(in_dim, out_dim), nn.LayerNorm(out_dim))
        if flf_pos_emb:
            self.emb_pos = nn.Parameter(torch.zeros(
                1, FIRST_LAST_FRAME_CONTEXT_TOKEN_NUMBER, in_dim))

    def forward(self, image_embeds: torch.Tensor) -> torch.Tensor:
        r"""[B, 257, 1280], or [2B, 257, 1280] for first and last frames
        which become one row of tokens -> [B, tokens, out_dim]."""
        image_embeds = image_embeds.to(self.proj[1].weight.dtype)
        if hasattr(self, 'emb_pos'):
            _, tokens, dim = self.emb_pos.shape
            image_embeds = image_embeds.reshape(-1, tokens, dim) + self.emb_pos
        return self.proj(image_embeds)


class WanModel(ModelMixin, ConfigMixin):
    r"""The transformer behind text to video and image to video.

    The dtype of the linear layers is the one it computes in. Norms,
    modulation, the timestep's embedding and the head stay in float32, as does
    the residual stream, which is what upstream's autocast does.
    """

    _no_split_modules = ['WanAttentionBlock']
    _keep_in_fp32_modules = [
        'time_embedding', 'time_projection', 'modulation', 'norm_q', 'norm_k',
        'norm_k_img', 'norm3', 'head'
    ]

    @register_to_config
    def __init__(
        self,
        model_type: str = 't2v',
        patch_size: tuple[int, int, int] = (1, 2, 2),
        text_len: int = 512,
        in_dim: int = 16,
        dim: int = 2048,
        ffn_dim: int = 8192,
        freq_dim: int = 256,
        text_dim: int = 4096,
        out_dim: int = 16,
        num_heads: int = 16,
        num_layers: int = 32,
        window_size: tuple[int, int] = (-1, -1),
        qk_norm: bool = True,
        cross_attn_norm: bool = True,
        eps: float = 1e-6,
    ):
        r"""Build the network.

        Args:
            model_type: 't2v', 'i2v', 'flf2v' (first and last frame) or 'vace'.
            patch_size: (frames, rows, columns) of latent in one token.
            text_len: tokens the text is padded to.
            in_dim: channels of the input: latent, plus `y` for image to video.
            dim, ffn_dim, num_heads, num_layers: the transformer's size.
            freq_dim: size of the timestep's sinusoidal embedding.
            text_dim: channels of the text encoder.
            out_dim: channels of the latent.
            window_size: (left, right) tokens seen by self-attention, -1 all.
            qk_norm: RMS-normalise queries and keys.
            cross_attn_norm: an affine layer norm before cross-attention.
            eps: of every norm.

        Raises:
            ValueError: unknown `model_type`, or heads that do not divide dim.
        """
        if model_type not in MODEL_TYPES:
            raise ValueError(
                f'Unknown model_type {model_type!r}; allowed: '
                f'{", ".join(MODEL_TYPES)}.')
        super().__init__()
        self.model_type = model_type
        self.patch_size = tuple(patch_size)
        self.text_len = text_len
        self.in_dim = in_dim
        self.dim = dim
        self.ffn_dim = ffn_dim
        self.freq_dim = freq_dim
        self.text_dim = text_dim
        self.out_dim = out_dim
        self.num_heads = num_heads
        self.num_layers = num_layers
        self.window_size = tuple(window_size)
        self.qk_norm = qk_norm
        self.cross_attn_norm = cross_attn_norm
        self.eps = eps
        self.needs_image = model_type in ('i2v', 'flf2v')

        self.patch_embedding = nn.Conv3d(
            in_dim, dim, kernel_size=patch_size, stride=patch_size)
        self.text_embedding = nn.Sequential(
            nn.Linear(text_dim, dim), nn.GELU(approximate='tanh'),
            nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(
            nn.Linear(freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(
            nn.SiLU(), nn.Linear(dim, dim * 6))
        kind = 'i2v_cross_attn' if self.needs_image else 't2v_cross_attn'
        self.blocks = nn.ModuleList(
            WanAttentionBlock(
                kind, dim, ffn_dim, num_heads, window_size, qk_norm,
                cross_attn_norm, eps) for _ in range(num_layers))
        self.head = Head(dim, out_dim, patch_size, eps)

        d = dim // num_heads
        # Neither buffer nor parameter: never cast, never in a checkpoint.
        self.freqs = torch.cat([
            rope_params(1024, d - 4 * (d // 6)),
            rope_params(1024, 2 * (d // 6)),
            rope_params(1024, 2 * (d // 6)),
        ], dim=1)
        if self.needs_image:
            self.img_emb = MLPProj(
                1280, dim, flf_pos_emb=model_type == 'flf2v')
        if self.patch_embedding.weight.device.type != 'meta':
            self.init_weights()

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        torch_dtype: torch.dtype | None = None,
        device: torch.device | str = 'cpu',
    ) -> 'WanModel':
        r"""Load a diffusers model folder, its weights in one file or shards.

        In place of diffusers' loader, which makes a second copy of the
        weights unless accelerate is installed.

        Args:
            folder: holds config.json and diffusion_pytorch_model.safetensors.
            torch_dtype: see `load_weights`; None keeps the stored dtype.
            device: where the weights go.

        Raises:
            CheckpointError: no such folder, or its weights do not fit.
        """
        config = Path(folder) / 'config.json'
        if not config.is_file():
            raise CheckpointError(f'No model at {folder}: no config.json.')
        with torch.device('meta'):
            model = cls.from_config(json.loads(config.read_text()))
        return load_weights(model, weight_files(folder), torch_dtype, device)

    def forward(
        self,
        x: Sequence[torch.Tensor],
        t: torch.Tensor,
        context: Sequence[torch.Tensor],
        seq_len: int,
        clip_fea: torch.Tensor | None = None,
        y: Sequence[torch.Tensor] | None = None,
        ref: Sequence[RefSlot | None] | None = None,
    ) -> list[torch.Tensor]:
        r"""The velocity eps - z of each noisy latent.

        Args:
            x: B latents [C_in, F, H, W]; latents of one size run as a batch.
            t: [B], timesteps 1000 * sigma.
            context: B text embeddings [L <= text_len, C]; a `TextContext`
                keeps their projections for the next call.
            seq_len: longest number of tokens allowed.
            clip_fea: [B, 257, 1280] CLIP tokens of the image, or
                [2B, 257, 1280] for first and last frames.
            y: B conditions [C_y, F, H, W] joined behind the latent channels.
            ref: a reference slot, or None, for each block.

        Returns:
            B tensors [out_dim, F, H, W] in float32.

        Raises:
            ValueError: a sample has more tokens than seq_len, a text more
                than text_len, or the image inputs of i2v are missing.
        """
        if self.needs_image and (clip_fea is None or y is None):
            raise ValueError(
                f'A model of type {self.model_type} needs clip_fea and y.')
        if y is not None:
            x = [torch.cat(pair) for pair in zip(x, y, strict=True)]
        x, grid_sizes, seq_lens = self.embed_latents(x, seq_len)
        e, e0 = self.embed_time(t)
        cache = context if isinstance(context, TextContext) else None
        context = self.embed_context(context, clip_fea)
        rotation = _rotation(x, grid_sizes, self.freqs)
        for i, block in enumerate(self.blocks):
            x = block(
                x, e0, seq_lens, grid_sizes, rotation, context, None,
                ref=None if ref is None else ref[i], cache=cache)
        return self.unpatchify(self.head(x, e), grid_sizes)

    def embed_latents(self, x, seq_len):
        r"""Latents to tokens [B, L, C], grid sizes [B, 3], lengths or None."""
        dtype = self.patch_embedding.weight.dtype
        if len({u.shape for u in x}) == 1:
            tokens = self.patch_embedding(torch.stack(list(x)).to(dtype))
            grid_sizes = torch.tensor([tokens.shape[2:]] * len(x))
            # Every sum with the residual stream keeps its memory layout.
            tokens = tokens.flatten(2).transpose(1, 2).contiguous()
            seq_lens = None
            longest = tokens.size(1)
        else:
            parts = [self.patch_embedding(u[None].to(dtype)) for u in x]
            grid_sizes = torch.tensor([p.shape[2:] for p in parts])
            seq_lens = grid_sizes.prod(1)
            longest = int(seq_lens.max())
            tokens = torch.cat([
                F.pad(p.flatten(2), (0, max(0, seq_len - n))).transpose(1, 2)
                for p, n in zip(parts, seq_lens.tolist(), strict=True)
            ]) if longest <= seq_len else None
        if longest > seq_len:
            raise ValueError(
                f'A sample has {longest} tokens, seq_len allows {seq_len}.')
        return tokens, grid_sizes, seq_lens

    def embed_time(self, t):
        r"""Timesteps [B] to e [B, C] and e0 [B, 6, C], in float32."""
        weight = self.time_embedding[0].weight
        with _full_precision(weight.device):
            wave = sinusoidal_embedding_1d(self.freq_dim, t)
            e = self.time_embedding(
                wave.to(device=weight.device, dtype=weight.dtype))
            e0 = self.time_projection(e).unflatten(1, (6, self.dim))
        return e.float(), e0.float()

    def embed_context(self, context, clip_fea=None):
        r"""Text (and image) embeddings to [B, Li + text_len, C].

        Padding is added before the embedding, and the model was trained to
        attend to it: there is no mask.
        """
        cache = context if isinstance(context, TextContext) else None
        if cache is not None and cache.embedded is not None:
            return cache.embedded
        longest = max(u.size(0) for u in context)
        if longest > self.text_len:
            raise ValueError(
                f'A text has {longest} tokens, text_len allows '
                f'{self.text_len}.')
        padded = torch.stack([
            F.pad(u, (0, 0, 0, self.text_len - u.size(0))) for u in context])
        embedded = self.text_embedding(
            padded.to(self.text_embedding[0].weight.dtype))
        if clip_fea is not None:
            image = self.img_emb(clip_fea)
            embedded = torch.cat([image, embedded.to(image.dtype)], dim=1)
        if cache is not None:
            cache.embedded = embedded
        return embedded

    def unpatchify(
        self, x: Sequence[torch.Tensor], grid_sizes: torch.Tensor
    ) -> list[torch.Tensor]:
        r"""Tokens [L, patch volume * C] of each sample to [C, F, H, W]."""
        pt, ph, pw = self.patch_size
        return [
            rearrange(
                u[:f * h * w],
                '(f h w) (pt ph pw c) -> c (f pt) (h ph) (w pw)',
                f=f, h=h, w=w, pt=pt, ph=ph, pw=pw).float()
            for u, (f, h, w) in zip(x, grid_sizes.tolist(), strict=True)
        ]

    def init_weights(self) -> None:
        r"""The initialisation training starts from; the output is zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        for embedding in (self.text_embedding, self.time_embedding):
            for module in embedding:
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=.02)
        nn.init.zeros_(self.head.head.weight)
