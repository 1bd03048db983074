r"""A collage in the light that an edit gives it.

A VAE blurs small print, and a model draws it anew; but of the light in a
scene a photo knows nothing. So what an edit changes is split: its soft part,
light and shadow, is taken over, and the detail stays the photo's.
"""
import torch

from ..utils import disk
from .filters import blur

# Share of the frame's height, a standard deviation, above which a change is
# light and not detail.
SOFT = 1 / 16


def relit(
    collage: torch.Tensor,
    before: torch.Tensor,
    after: torch.Tensor,
    place: torch.Tensor,
) -> torch.Tensor:
    r"""A collage with the soft part of what an edit has changed.

    Args:
        collage: [3, F, H, W] in [-1, 1].
        before, after: the collage and the edit, each through the same
            decoder, so that what this loses is lost in both.
        place: [F, H, W] in [0, 1], where changes count.

    Returns:
        Like `collage`, which it is bit for bit where nothing has changed.
    """
    sigma = SOFT * collage.size(2)
    out = disk.empty(collage.shape)
    for i in range(collage.size(1)):
        share = place[i].to(collage)
        change = (after[:, i] - before[:, i]) * share
        for dim in (-2, -1):
            change, share = (
                blur(part, sigma, dim) for part in (change, share))
        light = change / share.clamp_min(1e-6)
        out[:, i] = (collage[:, i] + light).clamp(-1, 1)
    return out
