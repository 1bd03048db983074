r"""The parts of a umT5 encoder."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange


def fp16_clamp(x: torch.Tensor) -> torch.Tensor:
    r"""Bring overflown float16 values back below the largest finite one.

    Other dtypes have the range umT5 needs and pass as they are.
    """
    if x.dtype == torch.float16 and torch.isinf(x).any():
        limit = torch.finfo(x.dtype).max - 1000
        x = x.clamp(-limit, limit)
    return x


class GELU(nn.GELU):
    r"""GELU in its tanh form."""

    def __init__(self):
        super().__init__(approximate='tanh')


class T5LayerNorm(nn.Module):
    r"""Root mean square norm (arXiv 1910.07467), statistics in float32."""

    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        r"""[..., dim] to the same shape, in the weight's dtype."""
        x = x * torch.rsqrt(
            x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * x.type_as(self.weight)


class T5Attention(nn.Module):
    r"""Attention with a bias and, as in all of T5, unscaled logits."""

    def __init__(
        self, dim: int, dim_attn: int, num_heads: int, dropout: float = 0.1
    ):
        if dim_attn % num_heads:
            raise ValueError(
                f'dim_attn is {dim_attn}, it must be a multiple of num_heads, '
                f'which is {num_heads}.')
        super().__init__()
        self.dim = dim
        self.dim_attn = dim_attn
        self.num_heads = num_heads
        self.head_dim = dim_attn // num_heads
        self.q = nn.Linear(dim, dim_attn, bias=False)
        self.k = nn.Linear(dim, dim_attn, bias=False)
        self.v = nn.Linear(dim, dim_attn, bias=False)
        self.o = nn.Linear(dim_attn, dim, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: torch.Tensor,
        context: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        pos_bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        r"""Attend from x to the context.

        Args:
            x: [B, Lq, C].
            context: [B, Lk, C]; x itself if not given.
            mask: [B, Lk] or [B, Lq, Lk], 0 where a key is not seen.
            pos_bias: [1 or B, N, Lq, Lk], added to the logits.

        Returns:
            [B, Lq, C].
        """
        context = x if context is None else context
        q, k, v = (
            rearrange(y, 'b l (n d) -> b n l d', n=self.num_heads)
            for y in (self.q(x), self.k(context), self.v(context)))
        if mask is not None:
            mask = mask[:, None, None] if mask.ndim == 2 else mask[:, None]
            bias = q.new_zeros(()) if pos_bias is None else pos_bias
            pos_bias = bias.masked_fill(mask == 0, torch.finfo(q.dtype).min)
        x = F.scaled_dot_product_attention(q, k, v, pos_bias, scale=1.)
        return self.dropout(self.o(rearrange(x, 'b n l d -> b l (n d)')))


class T5FeedForward(nn.Module):
    r"""GELU-gated feed-forward layers (arXiv 2002.05202), without biases."""

    def __init__(self, dim: int, dim_ffn: int, dropout: float = 0.1):
        super().__init__()
        self.dim = dim
        self.dim_ffn = dim_ffn
        self.gate = nn.Sequential(nn.Linear(dim, dim_ffn, bias=False), GELU())
        self.fc1 = nn.Linear(dim, dim_ffn, bias=False)
        self.fc2 = nn.Linear(dim_ffn, dim, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        r"""[..., dim] to the same shape."""
        x = self.dropout(self.fc1(x) * self.gate(x))
        return self.dropout(self.fc2(x))


class T5RelativeEmbedding(nn.Module):
    r"""Attention bias by the distance of key and query (arXiv 1910.10683).

    Near distances have a bucket each, farther ones share buckets that grow
    logarithmically up to `max_dist`, and all beyond it share the last one.
    """

    def __init__(
        self,
        num_buckets: int,
        num_heads: int,
        bidirectional: bool,
        max_dist: int = 128,
    ):
        super().__init__()
        self.num_buckets = num_buckets
        self.num_heads = num_heads
        self.bidirectional = bidirectional
        self.max_dist = max_dist
        self.embedding = nn.Embedding(num_buckets, num_heads)

    def forward(self, lq: int, lk: int) -> torch.Tensor:
        r"""The bias [1, N, lq, lk] of lq queries and lk keys."""
        distance = torch.arange(
            1 - lq, lk, device=self.embedding.weight.device)
        bias = self.embedding(self._relative_position_bucket(distance))
        # Only lq + lk - 1 distances exist: each query sees a window of them,
        # and the first query's window is the last.
        return bias.T.unfold(1, lk, 1).flip(1).unsqueeze(0)

    def _relative_position_bucket(self, rel_pos: torch.Tensor) -> torch.Tensor:
        r"""Bucket numbers of key - query positions."""
        buckets, offset = self.num_buckets, 0
        if self.bidirectional:
            buckets //= 2
            offset = (rel_pos > 0) * buckets
            distance = rel_pos.abs()
        else:
            distance = (-rel_pos).clamp_min(0)
        exact = buckets // 2
        growth = torch.log(distance.clamp_min(exact).float() / exact) / \
            math.log(self.max_dist / exact)
        far = exact + (growth * (buckets - exact)).long()
        return offset + torch.where(
            distance < exact, distance, far.clamp_max(buckets - 1))


class T5SelfAttention(nn.Module):
    r"""One block of the encoder: self-attention, then feed-forward."""

    def __init__(
        self,
        dim: int,
        dim_attn: int,
        dim_ffn: int,
        num_heads: int,
        num_buckets: int,
        shared_pos: bool = True,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.dim = dim
        self.dim_attn = dim_attn
        self.dim_ffn = dim_ffn
        self.num_heads = num_heads
        self.num_buckets = num_buckets
        self.shared_pos = shared_pos
        self.norm1 = T5LayerNorm(dim)
        self.attn = T5Attention(dim, dim_attn, num_heads, dropout)
        self.norm2 = T5LayerNorm(dim)
        self.ffn = T5FeedForward(dim, dim_ffn, dropout)
        self.pos_embedding = None if shared_pos else T5RelativeEmbedding(
            num_buckets, num_heads, bidirectional=True)

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor | None = None,
        pos_bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        r"""One block.

        Args:
            x: [B, L, C].
            mask: [B, L] or [B, L, L], 0 where a key is not seen.
            pos_bias: [1, N, L, L], used if positions are shared.

        Returns:
            [B, L, C].
        """
        if not self.shared_pos:
            pos_bias = self.pos_embedding(x.size(1), x.size(1))
        x = fp16_clamp(
            x + self.attn(self.norm1(x), mask=mask, pos_bias=pos_bias))
        return fp16_clamp(x + self.ffn(self.norm2(x)))
