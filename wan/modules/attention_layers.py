r"""The attention layers of the transformer, and the text's part kept."""
from collections.abc import Callable, Sequence

import torch
import torch.nn as nn

from .attention import attention
from .rope import rotate, rotation_of

T5_CONTEXT_TOKEN_NUMBER = 512

# Called by block i's self-attention as
# slot(q, k, v, x, grid_sizes, rotation, q_rotated) -> x, all [B, L, N, D] but
# grid_sizes [B, 3] and rotation [B or 1, L, 1, D / 2]; q and k are normed but
# not rotated, x is the attention's result.
RefSlot = Callable[..., torch.Tensor]


class TextContext(list):
    r"""Prompt embeddings that remember what a model has made of them.

    A list of [L, C] tensors, one per sample, to be given to `WanModel` in
    place of a plain list. The text does not change while a video is sampled,
    so its embedding and every block's keys and values are computed at the
    first forward and kept: 2 * layers * B * text_len * dim values, 94 MB a
    prompt for the 1.3B model in bfloat16. It belongs to one model (and, for
    image to video, to one image), and is not for training: a second backward
    would run through the first one's graph.
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
