r"""The parts of a vision transformer."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from .attention import attention
from .blocks import WanLayerNorm


def pos_interpolate(pos: torch.Tensor, seq_len: int) -> torch.Tensor:
    r"""Positions of a square grid, stretched to another square grid.

    Args:
        pos: [1, n + side**2, C], the first n of them not in the grid.
        seq_len: n + the other grid's cells.

    Returns:
        [1, seq_len, C].

    Raises:
        ValueError: seq_len is of no square grid.
    """
    if pos.size(1) == seq_len:
        return pos
    old = math.isqrt(pos.size(1))
    n = pos.size(1) - old**2
    new = math.isqrt(seq_len - n)
    if new**2 != seq_len - n:
        raise ValueError(
            f'A picture has {seq_len - n} patches, positions are stretched '
            f'to square pictures only.')
    grid = pos[:, n:].float().unflatten(1, (old, old)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(new, new), mode='bicubic')
    return torch.cat(
        [pos[:, :n], grid.flatten(2).transpose(1, 2).type_as(pos)], dim=1)


class QuickGELU(nn.Module):
    r"""x * sigmoid(1.702 x), an approximation of GELU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        r"""Any shape to the same shape."""
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {'quick_gelu': QuickGELU, 'gelu': nn.GELU}


class LayerNorm(nn.LayerNorm):
    r"""Layer norm in float32 that returns its input's dtype."""

    forward = WanLayerNorm.forward


class SelfAttention(nn.Module):
    r"""Multi-head self-attention with one projection for all three."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        causal: bool = False,
        attn_dropout: float = 0.0,
        proj_dropout: float = 0.0,
    ):
        if dim % num_heads:
            raise ValueError(
                f'dim is {dim}, it must be a multiple of num_heads, which is '
                f'{num_heads}.')
        super().__init__()
        self.dim = dim
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.causal = causal
        self.attn_dropout = attn_dropout
        self.proj_dropout = proj_dropout
        self.to_qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        r"""[B, L, C] -> [B, L, C]."""
        q, k, v = self.to_qkv(x).unflatten(
            2, (3, self.num_heads, self.head_dim)).unbind(2)
        x = attention(
            q, k, v, causal=self.causal, backend='sdpa',
            dropout_p=self.attn_dropout if self.training else 0.)
        return F.dropout(
            self.proj(x.flatten(2)), self.proj_dropout, self.training)


class AttentionBlock(nn.Module):
    r"""Self-attention, then feed-forward, each with a norm before it."""

    def __init__(
        self,
        dim: int,
        mlp_ratio: float,
        num_heads: int,
        post_norm: bool = False,
        causal: bool = False,
        activation: str = 'quick_gelu',
        attn_dropout: float = 0.0,
        proj_dropout: float = 0.0,
        norm_eps: float = 1e-5,
    ):
        r"""Build it.

        Args:
            dim, num_heads, causal, attn_dropout: see `SelfAttention`.
            mlp_ratio: inner size of the feed-forward layers over dim.
            post_norm: the norms come behind the layers instead.
            activation: 'quick_gelu' or 'gelu'.
            proj_dropout: behind either part.
            norm_eps: of the norms.
        """
        if activation not in ACTIVATIONS:
            raise ValueError(
                f'activation is {activation!r}; allowed: '
                f'{", ".join(ACTIVATIONS)}.')
        super().__init__()
        self.dim = dim
        self.mlp_ratio = mlp_ratio
        self.num_heads = num_heads
        self.post_norm = post_norm
        self.causal = causal
        self.norm_eps = norm_eps
        self.norm1 = LayerNorm(dim, eps=norm_eps)
        self.attn = SelfAttention(
            dim, num_heads, causal, attn_dropout, proj_dropout)
        self.norm2 = LayerNorm(dim, eps=norm_eps)
        inner = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(
            nn.Linear(dim, inner), ACTIVATIONS[activation](),
            nn.Linear(inner, dim), nn.Dropout(proj_dropout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        r"""[B, L, C] -> [B, L, C]."""
        if self.post_norm:
            x = x + self.norm1(self.attn(x))
            return x + self.norm2(self.mlp(x))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))
