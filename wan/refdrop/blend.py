r"""RefDrop's formula (arXiv 2405.17661): separate softmaxes, blended."""
from collections.abc import Callable, Sequence

import torch

# Adds up a tensor over the processes that share the tokens.
Total = Callable[[torch.Tensor], torch.Tensor]


def blend(
    x: torch.Tensor,
    refs: Sequence[torch.Tensor],
    weights: Sequence[float],
) -> torch.Tensor:
    r"""sum_j c_j * Attn(Q, K_j, V_j) + (1 - sum_j c_j) * Attn(Q, K, V).

    Args:
        x: [B, L, N, D], the self-attention's result.
        refs: results of attending to each reference, [B, L, N, D].
        weights: c of each reference.

    Returns:
        [B, L, N, D] in x's dtype.
    """
    if len(refs) == 1:  # one pass over memory, which is most of the time
        return torch.lerp(x, refs[0].to(x.dtype), weights[0])
    out = x.float() * (1 - sum(weights))
    for ref, c in zip(refs, weights, strict=True):
        out.add_(ref, alpha=c)
    return out.to(x.dtype)


def match_norm(
    ref: torch.Tensor, x: torch.Tensor, total: Total | None = None
) -> torch.Tensor:
    r"""Give each token of `ref` the length of the same token of `x`.

    Args:
        ref, x: [B, L, N, D].
        total: not needed.
    """
    length = torch.linalg.vector_norm(x.float(), dim=(2, 3), keepdim=True)
    own = torch.linalg.vector_norm(ref.float(), dim=(2, 3), keepdim=True)
    return ref.float() * (length / own.clamp_min(1e-6))


def match_moments(
    ref: torch.Tensor, x: torch.Tensor, total: Total | None = None
) -> torch.Tensor:
    r"""Give each channel of `ref` the mean and deviation it has in `x`.

    Args:
        ref, x: [B, L, N, D]; moments are taken over the L tokens.
        total: over the other processes' tokens as well; None is without.
    """
    (to_std, to_mean), (std, mean) = (
        _std_mean(a.float(), total) for a in (x, ref))
    return (ref.float() - mean) / std.clamp_min(1e-3) * to_std + to_mean


def _std_mean(a, total):
    r"""[B, 1, N, D] each, of the tokens in all processes."""
    if total is None:
        return torch.std_mean(a, dim=1, correction=0, keepdim=True)
    count = total(a.new_tensor(float(a.size(1))))
    mean = total(a.sum(1, keepdim=True)) / count
    square = total((a - mean).square().sum(1, keepdim=True)) / count
    return square.sqrt(), mean


MATCH_STATS = {
    'none': lambda ref, x, total=None: ref,
    'norm': match_norm,
    'full': match_moments,
}
