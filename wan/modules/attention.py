r"""Upstream's names of the attention that `backends` computes."""
import torch

from .backends import (
    FLASH_ATTN_2_AVAILABLE,
    FLASH_ATTN_3_AVAILABLE,
    attention,
)

__all__ = [
    'FLASH_ATTN_2_AVAILABLE',
    'FLASH_ATTN_3_AVAILABLE',
    'attention',
    'flash_attention',
]


def flash_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    q_lens: torch.Tensor | None = None,
    k_lens: torch.Tensor | None = None,
    dropout_p: float = 0.,
    softmax_scale: float | None = None,
    q_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    deterministic: bool = False,
    dtype: torch.dtype = torch.bfloat16,
    version: int | None = None,
) -> torch.Tensor:
    r"""Upstream's other name of `attention`; the same on every device."""
    return attention(
        q, k, v, q_lens, k_lens, dropout_p, softmax_scale, q_scale, causal,
        window_size, deterministic, dtype, version)
