r"""The layers of the transformer: norms, attentions, block, head."""
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
import torch.nn as nn
import torch.nn.functional as F

from .attention import attention
from .rope import rotate, rotation_of

T5_CONTEXT_TOKEN_NUMBER = 512
FIRST_LAST_FRAME_CONTEXT_TOKEN_NUMBER = 257 * 2

# Called by block i's self-attention as
# slot(q, k, v, x, grid_sizes, rotation, q_rotated) -> x, all [B, L, N, D] but
# grid_sizes [B, 3] and rotation [B or 1, L, 1, D / 2]; q and k are normed but
# not rotated, x is the attention's result.
RefSlot = Callable[..., torch.Tensor]


def full_precision(device: torch.device):
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
            freqs = rotation_of(x, grid_sizes, freqs)
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
        with full_precision(x.device):
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
        with full_precision(x.device):
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
