r"""RefDrop's formula (arXiv 2405.17661): separate softmaxes, blended."""
from collections.abc import Sequence

import torch


def blend(
    x: torch.Tensor,
    refs: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor | float],
) -> torch.Tensor:
    r"""sum_j c_j * Attn(Q, K_j, V_j) + (1 - sum_j c_j) * Attn(Q, K, V).

    Args:
        x: [B, L, N, D], the self-attention's result.
        refs: results of attending to each reference, [B, L, N, D].
        weights: c of each reference, a number or [L, 1, 1] over the tokens.

    Returns:
        [B, L, N, D] in x's dtype; exactly x where every c is 0.
    """
    out = x.float() * (1 - sum(weights))
    for ref, c in zip(refs, weights, strict=True):
        out = out + c * ref.float()
    return out.to(x.dtype)


def match_norm(ref: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    r"""Give each token of `ref` the length of the same token of `x`."""
    length = torch.linalg.vector_norm(x.float(), dim=(2, 3), keepdim=True)
    own = torch.linalg.vector_norm(ref.float(), dim=(2, 3), keepdim=True)
    return (ref.float() * length / own.clamp_min(1e-6)).to(ref.dtype)


def match_moments(
    ref: torch.Tensor, x: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    r"""Give each channel of `ref` the mean and deviation it has in `x`.

    Args:
        ref, x: [B, L, N, D].
        mask: [L, 1, 1], the tokens that count; None for all.
    """
    weight = torch.ones_like(x[:1, :, :1, :1], dtype=torch.float32) \
        if mask is None else (mask > 0).float()[None]
    total = weight.sum(1, keepdim=True).clamp_min(1)

    def moments(a):
        mean = (a * weight).sum(1, keepdim=True) / total
        variance = ((a - mean).square() * weight).sum(1, keepdim=True) / total
        return mean, variance.add(1e-6).sqrt()

    mean, std = moments(ref.float())
    to_mean, to_std = moments(x.float())
    return ((ref.float() - mean) / std * to_std + to_mean).to(ref.dtype)
