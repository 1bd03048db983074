r"""The attention layers of the transformer."""
from collections.abc import Sequence

import torch
import torch.nn as nn

from .attention import attention
from .rope import Grid, rotate, rotation_of
from .slots import Attend, CrossSlot, RefSlot

T5_CONTEXT_TOKEN_NUMBER = 512


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
        grid_sizes: torch.Tensor | Sequence[Grid],
        freqs: torch.Tensor,
        ref: RefSlot | None = None,
        attend: Attend = attention,
    ) -> torch.Tensor:
        r"""Attend within each sample.

        Args:
            x: [B, L, C].
            seq_lens: [B], true lengths; None when every sample is full.
            grid_sizes: of each sample's tokens, see `rope_apply`.
            freqs: upstream's [P, D / 2] tables, or the [B or 1, L, 1, D / 2]
                rotation of every token that `WanModel` shares between layers.
            ref: reference slot of this block.
            attend: computes the attention.

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
        k_rotated = rotate(k, freqs, v.dtype)
        x = attend(
            q_rotated, k_rotated, v,
            k_lens=seq_lens, window_size=self.window_size)
        if ref is not None:
            x = ref(q, k, v, x, q_rotated, k_rotated)
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
        context: torch.Tensor | tuple[torch.Tensor, ...],
        context_lens: torch.Tensor | None,
        cross: CrossSlot | None = None,
        attend: Attend = attention,
    ) -> torch.Tensor:
        r"""Attend to the text.

        Args:
            x: [B, L, C].
            context: [B, Lt, C], or what `keys_values` has made of it.
            context_lens: [B], true lengths of the text; None for all of it.
            cross: slot of this block.
            attend: computes the attention.

        Returns:
            [B, L, C].
        """
        attend = getattr(attend, 'local', attend)
        q = self.heads(self.norm_q(self.q(x.to(self.q.weight.dtype))))
        k, v, *image = context if isinstance(context, tuple) \
            else self.keys_values(context)
        x = attend(q.to(v.dtype), k, v, k_lens=context_lens)
        # Both results are added before the one output projection.
        if image:
            x = x + attend(q.to(v.dtype), *image)
        if cross is not None:
            x = cross(q, k, v, x)
        return self.out(x)


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


WAN_CROSSATTENTION_CLASSES = {
    't2v_cross_attn': WanT2VCrossAttention,
    'i2v_cross_attn': WanI2VCrossAttention,
}
