r"""Where a clip shows a product, whatever it looks like.

Videos are [3, T, H, W] in [-1, 1]. Only colours tell a product from its
surroundings, so both clips are held against the background without it.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

# The deepest shadow leaves this share of the light.
SHADE = 0.5
# Colours closer to the shaded background than this are not a product.
VISIBLE = 0.08


def seen(
    region: Tensor,
    edited: Tensor,
    truth: Tensor,
    background: Tensor,
    new_mask: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Where a product can be seen in the region, [T, H, W] of bool each.

    Returns:
        Where the edited clip shows one, where the truth does, and where that
        can be told: there the rule that finds products in the edited clip is
        right about the truth. It errs at antialiased outlines and where a
        product is coloured like the background or its shadow.
    """
    known = new_mask > 0.5
    sure = (_stands_out(truth, background) == known) & (region > 0)
    return _stands_out(edited, background), known, sure


def mask_iou(found: Tensor, known: Tensor, sure: Tensor) -> float:
    r"""Mean over the frames of intersection over union of [T, H, W] of bool.

    Returns:
        In [0, 1]: 0 if nothing is found. A frame with nothing to find, where
        nothing is found, counts as 1.
    """
    both = (found & known & sure).sum((1, 2))
    either = ((found | known) & sure).sum((1, 2))
    return torch.where(
        either > 0, both / either.clamp_min(1), 1.).mean().item()


def displacement_error(found: Tensor, known: Tensor, sure: Tensor) -> float:
    r"""Mean distance in pixels between the found and the true displacement.

    A frame's displacement is that of its centroid from the first frame's.
    Where either shows nothing it is 0, so if nothing is found at all the
    error is the length of the true displacement. The first frame, which is
    always right, does not count; a single frame has an error of 0.
    """
    if len(found) == 1:
        return 0.
    error = _displacement(found & sure) - _displacement(known & sure)
    return torch.linalg.vector_norm(error, dim=1).mean().item()


def _stands_out(video: Tensor, background: Tensor) -> Tensor:
    r"""[T, H, W] of bool: not the background in any shadow on it.

    A pixel's colour is compared with the closest one on the way from the
    background's to `SHADE` of it; then most of 3x3 pixels decide.
    """
    colour, ground = video + 1, background + 1  # black is 0, white 2
    light = (colour * ground).sum(0) / ground.square().sum(0).clamp_min(1e-6)
    distance = (colour - light.clamp(SHADE, 1) * ground).abs().amax(0) / 2
    apart = (distance > VISIBLE).to(video)
    return F.avg_pool2d(apart[None], 3, 1, 1)[0] > 0.5


def _displacement(found: Tensor) -> Tensor:
    r"""[T - 1, 2] of a mask's centroid, 0 where it or the first is empty."""
    found = found.float()
    count = found.sum((1, 2))
    centres = torch.stack([
        found.sum(across) @ torch.arange(found.size(along)).to(found)
        for across, along in ((2, 1), (1, 2))], 1) / count.clamp_min(1)[:, None]
    there = (count > 0) & (count[0] > 0)
    return ((centres - centres[0]) * there[:, None])[1:]
