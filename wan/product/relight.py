r"""A collage in the light that an edit gives it.

A VAE blurs small print, and a model draws it anew; but of the light in a
scene a photo knows nothing. So what an edit changes is split: its soft part,
light and shadow, is taken over, and the detail stays the photo's. Light
multiplies, so the soft part is a ratio.
"""
import torch

from ..utils import disk
from .collage import Collage
from .filters import blur

# Share of the frame's height, a standard deviation, above which a change is
# light and not detail.
SOFT = 1 / 16
# How many times as bright light may make a part, and the darkest that counts.
LEAST, MOST, DARK = .4, 2.5, .02
LUMINANCE = .299, .587, .114


def relit(
    collage: Collage, before: torch.Tensor, after: torch.Tensor
) -> torch.Tensor:
    r"""A collage in the light in which an edit shows it.

    The product and what surrounds it are each lit by themselves: the edge
    between them is no shadow.

    Args:
        collage: of F frames.
        before, after: [3, F, H, W] in [-1, 1], the collage and the edit, each
            through the same decoder, so that what this loses is lost in both.

    Returns:
        Like `before`; the collage's pixels where none of the two is brighter.
    """
    sigma = SOFT * before.size(2)
    out = disk.empty(before.shape)
    for i in range(before.size(1)):
        light = _light(before[:, i], after[:, i], collage.alpha[i], sigma)
        pixels = (collage.video[:, i] + 1) / 2 * light
        out[:, i] = 2 * pixels.clamp(0, 1) - 1
    return out


def _light(before, after, alpha, sigma):
    r"""[H, W], how many times as bright an edit is."""
    weights = torch.tensor(LUMINANCE)[:, None, None]
    tones = [((picture + 1) / 2 * weights).sum(0)
             for picture in (before, after)]
    light = 0.
    for share in (alpha, 1 - alpha):
        old, new = (_soft(tone, share.clamp_min(1e-3), sigma).clamp_min(DARK)
                    for tone in tones)
        light = light + share * (new / old).clamp(LEAST, MOST)
    return light


def _soft(picture, weight, sigma):
    r"""The Gaussian mean around each pixel, by weight."""
    total = picture * weight
    for dim in (-2, -1):
        total, weight = (blur(part, sigma, dim) for part in (total, weight))
    return total / weight.clamp_min(1e-6)
