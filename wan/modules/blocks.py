r"""The transformer's block, and the layers around the blocks."""
import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn as nn
import torch.nn.functional as F

from .attention import attention
from .attention_layers import WAN_CROSSATTENTION_CLASSES, WanSelfAttention
from .rope import Grid
from .slots import Attend, CrossSlot, RefSlot

FIRST_LAST_FRAME_CONTEXT_TOKEN_NUMBER = 257 * 2


def full_precision(device: torch.device):
    r"""Context in which a caller's autocast does not reach."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


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
        grid_sizes: torch.Tensor | Sequence[Grid],
        freqs: torch.Tensor,
        context: torch.Tensor | tuple[torch.Tensor, ...],
        context_lens: torch.Tensor | None,
        ref: RefSlot | None = None,
        cross: CrossSlot | None = None,
        attend: Attend = attention,
    ) -> torch.Tensor:
        r"""One block.

        Args:
            x: [B, L, C].
            e: [B, 6, C], float32, the projected timestep.
            seq_lens, grid_sizes, freqs, ref, attend: see `WanSelfAttention`.
            context: [B, Lt, C], embedded text (behind the image's tokens), or
                this block's keys and values of a `TextKV`.
            context_lens: [B] or None for the whole context.
            cross: slot of the cross-attention.

        Returns:
            [B, L, C] in float32: the residual stream is never rounded.
        """
        with full_precision(x.device):
            shift1, scale1, gate1, shift2, scale2, gate2 = (
                self.modulation.float() + e).chunk(6, dim=1)
        y = self.self_attn(
            modulate(self.norm1(x), scale1, shift1), seq_lens, grid_sizes,
            freqs, ref, attend)
        x = gated(x, y, gate1)
        x = x + self.cross_attn(
            self.norm3(x), context, context_lens, cross, attend)
        y = modulate(self.norm2(x), scale2, shift2)
        y = self.ffn(y.to(self.ffn[0].weight.dtype))
        return gated(x, y, gate2)

    def keys_values(self, context: torch.Tensor) -> tuple[torch.Tensor, ...]:
        r"""What the cross-attention makes of a text, see its own."""
        return self.cross_attn.keys_values(context)


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
