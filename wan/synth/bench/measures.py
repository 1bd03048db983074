r"""How close an edited clip is to the swap's true answer.

Videos are float tensors [3, T, H, W] in [-1, 1], masks [T, H, W] in [0, 1].
Errors are in colours of [0, 1] and places in pixels. The truth and the source
differ from the background by their product and its shadow only, as the
renderer promises, so that the two tell where an edit has any business: this
is the region. All the rest is background.
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from wan.utils.metrics import (
    motion_amount,
    psnr,
    ssim,
    temporal_consistency,
)

from .silhouette import displacement_error, mask_iou, seen

# Pixels around the region that still belong to it: the reach of a VAE's blur.
MARGIN = 4
# SSIM against truth and source is of every third frame, as it takes most of
# the time: not of every fourth, as the frames of a VAE's chunk differ.
STRIDE = 3
# Standard deviation of local means, in pixels: above it is colour, below it
# pattern.
LOCAL = 6.0
# A patch of the DiT and a cell of its latent video, in pixels.
PATCH, CELL = 16, 8
# Power of an alternation by 1/50 up and down, just seen on a flat product.
FLOOR = 4e-4
LUMINANCE = (0.2126, 0.7152, 0.0722)

TOO_SMALL = 'The new mask has no pixel with all its neighbours in it.'


def measure(
    edited: Tensor,
    truth: Tensor,
    source: Tensor,
    new_mask: Tensor,
    old_mask: Tensor,
    background: Tensor,
) -> dict[str, float]:
    r"""Everything the benchmark knows of one edited clip.

    Args:
        edited: the result.
        truth: render of the source clip with the new product.
        source: render of the source clip.
        new_mask, old_mask: where truth and source show their product.
        background: render without product and shadow.

    Returns:
        product_error: mean absolute error of the new product's pixels.
        colour_error: of their local colours, see `colour_error`.
        structure: SSIM of them, 1 is best, of every third frame.
        gradient_error: of the contours within them, see `gradient_error`.
        checkerboard: against the truth's, see `checkerboard`; 0 is best.
        background_psnr, background_ssim: outside of the region, against the
            source, in dB and in [-1, 1], SSIM again of every third frame.
        mask_iou, displacement_error: of the product that is seen, see
            `mask_iou` and `displacement_error`.
        consistency, motion: `temporal_consistency` and `motion_amount` where
            the new product is. Read them against those of the truth.

    Raises:
        ValueError: shapes do not fit, the edited clip holds NaN or infinity,
            or a mask or the background is empty.
    """
    edited = edited.float()
    _check(edited, truth, source, background, new_mask, old_mask)
    region = edit_region(truth, source, background, new_mask, old_mask)
    ground, few = 1 - region, slice(None, None, STRIDE)
    mask, pixels, goal = cropped(new_mask, edited, truth)
    views = seen(*cropped(region, edited, truth, background, new_mask))
    return {
        'product_error': product_error(pixels, goal, mask),
        'colour_error': colour_error(pixels, goal, mask),
        'structure': ssim(pixels[:, few], goal[:, few], mask[few]),
        'gradient_error': gradient_error(pixels, goal, mask),
        'checkerboard': checkerboard(edited, truth, new_mask),
        'background_psnr': psnr(edited, source, ground),
        'background_ssim': ssim(edited[:, few], source[:, few], ground[few]),
        'mask_iou': mask_iou(*views),
        'displacement_error': displacement_error(*views),
        'consistency': temporal_consistency(pixels, mask),
        'motion': motion_amount(pixels, mask),
    }


def edit_region(
    truth: Tensor,
    source: Tensor,
    background: Tensor,
    new_mask: Tensor,
    old_mask: Tensor,
) -> Tensor:
    r"""[T, H, W], 1 at both products and their shadows, and `MARGIN` around."""
    touched = new_mask.maximum(old_mask) > 0
    for video in (truth, source):
        touched |= (video != background).any(0)
    rows, columns = (
        (_distance(n) <= MARGIN).to(truth) for n in touched.shape[1:])
    return (rows @ touched.to(truth) @ columns > 0).to(truth)


def overlap(found: Tensor | None, known: Tensor) -> float:
    r"""Intersection over union of a mask that was found and the true one.

    Args:
        found: [T, H, W], 0 or 1; None for nothing.
        known: [T, H, W] in [0, 1]; half a pixel and more is product.
    """
    if found is None:
        return 0.
    known = (known > .5).to(found)
    return ((found * known).sum() / found.maximum(known).sum()).item()


def cropped(mask: Tensor, *others: Tensor) -> list[Tensor]:
    r"""All [..., H, W] in the box that holds the mask [T, H, W] in all frames.

    What a mask weighs does not change by this, it is only found sooner.
    """
    shown, box = mask.any(0), []
    for line in (shown.any(1), shown.any(0)):
        places = line.nonzero()
        box.append(slice(places[0].item(), places[-1].item() + 1))
    return [part[..., box[0], box[1]] for part in (mask, *others)]


def product_error(edited: Tensor, truth: Tensor, mask: Tensor) -> float:
    r"""Mean absolute error, in [0, 1]."""
    return _mean((edited - truth).abs(), mask) / 2


def colour_error(edited: Tensor, truth: Tensor, mask: Tensor) -> float:
    r"""Mean absolute error of the local mean colours, in [0, 1].

    Local means are Gaussian with `LOCAL` and see pixels of the mask only, so
    that a fine pattern of the right colours costs next to nothing where it is
    washed out or shifted.
    """
    return _mean(_local_mean(edited - truth, mask).abs(), mask) / 2


def gradient_error(edited: Tensor, truth: Tensor, mask: Tensor) -> float:
    r"""Mean absolute difference of the steepness, per pixel and channel.

    Steepness is the length of the differences to the right and lower
    neighbours. The mask is eroded by a pixel, so its outline does not count.
    """
    if min(mask.shape[1:]) < 3:
        raise ValueError(TOO_SMALL)
    inner = -F.max_pool2d(-mask[None], 3, 1)[0]
    a, b = (_steepness(video)[..., 1:, 1:] for video in (edited, truth))
    return _mean((a - b).abs(), inner) / 2


def checkerboard(edited: Tensor, truth: Tensor, mask: Tensor) -> float:
    r"""Power of alternating neighbours against that in the truth, in octaves.

    Patches that are brighter and darker in turn, in both directions, make a
    wave of two patches, cells one of two cells. The luminance within the
    mask, less its local mean, is projected on these two boards of +-1, which
    lie on the model's lattices: so a pattern of the product that has about
    their size hardly counts. Powers are summed over the frames, and both sums
    get `FLOOR` added, which is what counts on a flat product.

    Args:
        edited, truth, mask: whole frames, as the lattices begin at the corner.

    Returns:
        log2 of the ratio: 0 as in the truth, 1 for twice the power, negative
        where it is smoother. So a few clips with a bold pattern of the wrong
        phase do not decide a mean.
    """
    boards = torch.stack([
        _board(*mask.shape[1:], side) for side in (PATCH, CELL)]).to(mask)
    mask, edited, truth, boards = cropped(mask, edited, truth, boards)
    power, expected = (
        _power(video, mask, boards) for video in (edited, truth))
    return math.log2((power + FLOOR) / (expected + FLOOR))


def _check(edited, truth, source, background, new_mask, old_mask):
    size = list(truth.shape)
    for name, part, expected in (
        ('edited clip', edited, size), ('source', source, size),
        ('background', background, size), ('new mask', new_mask, size[1:]),
        ('old mask', old_mask, size[1:]),
    ):
        if list(part.shape) != expected:
            raise ValueError(
                f'The {name} is {list(part.shape)}, expected {expected} as '
                f'the truth is {size}.')
    if not edited.sum().isfinite():
        raise ValueError('The edited clip holds NaN or infinite values.')
    if not new_mask.any():
        raise ValueError('The new mask is 0 everywhere: nothing to measure.')


def _mean(values: Tensor, weights: Tensor) -> float:
    r"""Of [C, T, H, W], weighed by [T, H, W] that is not 0 everywhere."""
    total = weights.sum().item() * len(values)
    if total == 0:
        raise ValueError(TOO_SMALL)
    return (values * weights).sum().item() / total


def _local_mean(values: Tensor, mask: Tensor) -> Tensor:
    r"""Gaussian means of [..., T, H, W] over the mask, in its shape."""
    # Matrix products are ten times faster than convolutions this wide.
    rows, columns = (_gaussian(n).to(mask) for n in mask.shape[1:])
    share = (rows @ mask @ columns).clamp_min(1e-6)
    return rows @ (values * mask) @ columns / share


def _gaussian(n: int) -> Tensor:
    r"""[n, n], symmetric: the weight of pixel j in the mean at pixel i."""
    return (-_distance(n).square() / (2 * LOCAL**2)).exp()


def _distance(n: int) -> Tensor:
    r"""[n, n]: from pixel i to pixel j of a line."""
    place = torch.arange(n, dtype=torch.float32)
    return (place - place[:, None]).abs()


def _steepness(video: Tensor) -> Tensor:
    r"""[C, T, H - 1, W - 1]."""
    right = video[..., :-1, 1:] - video[..., :-1, :-1]
    below = video[..., 1:, :-1] - video[..., :-1, :-1]
    return (right.square() + below.square()).sqrt()


def _board(height: int, width: int, side: int) -> Tensor:
    r"""[height, width]: 1 and -1 in turn on squares of `side` pixels."""
    rows, columns = (torch.arange(n) // side for n in (height, width))
    return 1 - 2 * ((rows[:, None] + columns) % 2).float()


def _power(video: Tensor, mask: Tensor, boards: Tensor) -> float:
    r"""Of the masked luminance on both boards, an amplitude squared."""
    weights = torch.tensor(LUMINANCE).to(video)
    tone = torch.tensordot(weights, video, 1) / 2
    tone = (tone - _local_mean(tone, mask)) * mask
    projections = torch.einsum('thw,bhw->bt', tone, boards)
    count = mask.sum((1, 2))
    return (projections.square().sum() / count.square().sum()).item()
