r"""How close two videos are, without a further model.

Videos are float tensors [3, T, H, W] in [-1, 1]. Masks are [T, H, W] or
[1, T, H, W] in [0, 1] and weigh the pixels: those with 0 do not count, nor do
they reach into the value of a neighbour that does. Every function returns a
Python float that JSON can hold and raises `ValueError` for shapes that do not
fit and for a mask that is 0 everywhere.
"""
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F

# The width of [-1, 1], the peak of PSNR and SSIM.
PEAK = 2.0
# Reported for equal videos; an error this small no 8-bit video can show.
MAX_PSNR = 100.0


def psnr(
    a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor | None = None
) -> float:
    r"""Peak signal-to-noise ratio of all frames together, peak 2.

    Returns:
        dB, at most `MAX_PSNR`, which stands for the infinity of equal videos.
    """
    weights = _weights(a, b, mask)
    error = _mean(
        ((x - y).square() for x, y in _pairs(a, b)), weights)
    return min(MAX_PSNR, 10 * math.log10(PEAK**2 / max(error, 1e-30)))


def ssim(
    a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor | None = None
) -> float:
    r"""Structural similarity (Wang et al. 2004), of each channel and frame.

    Gaussian window of 11x11, sigma 1.5, K1 0.01, K2 0.03. The window's
    weights are multiplied by the mask and normalised to 1, at the border of
    the frame as well, so that each value speaks of counted pixels only.

    Returns:
        The mean over the counted pixels, in [-1, 1]; 1 for equal videos.
    """
    weights = _weights(a, b, mask)
    return _mean(
        (_ssim_map(x, y, weight) for (x, y), weight in zip(
            _pairs(a, b), weights, strict=True)), weights)


def motion_amount(
    video: torch.Tensor, mask: torch.Tensor | None = None
) -> float:
    r"""Mean absolute change of a value from one frame to the next.

    Returns:
        In units of the range [-1, 1]; 0 for a frozen video or one frame. A
        pair of frames is weighed by the mask of the later one.
    """
    weights = _weights(video, video, mask)
    if len(weights) == 1:
        return 0.
    return _mean(
        ((y - x).abs() for x, y in _pairs(video[:, :-1], video[:, 1:])),
        weights[1:])


def motion_difference(
    a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor | None = None
) -> float:
    r"""Mean absolute difference of the changes from frame to frame.

    A constant difference in look costs nothing. The scale is given by
    `motion_amount`: against a frozen video the result is the other's amount.

    Returns:
        0 for the same changes, at most the sum of both amounts.
    """
    _weights(a, b, mask)
    return motion_amount(a - b, mask)


def temporal_consistency(
    video: torch.Tensor, mask: torch.Tensor | None = None
) -> float:
    r"""Mean SSIM of neighbouring frames.

    Says little alone, because a frozen video scores 1: read it beside
    `motion_amount`, and against the value of the template.

    Returns:
        In [-1, 1]; 1 for a frozen video or one frame.
    """
    weights = _weights(video, video, mask)
    if len(weights) == 1:
        return 1.
    return ssim(
        video[:, 1:], video[:, :-1], None if mask is None else weights[1:])


def background_report(
    result: torch.Tensor,
    template: torch.Tensor,
    round_trip: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
) -> dict[str, float]:
    r"""How much of a template an edit has kept, for the run's record.

    Args:
        result: the edited video.
        template: the video it was made from.
        round_trip: the template through the VAE and back. What it has lost
            no edit can keep, so its own entries are the ceiling; without it
            they are left out.
        mask: 1 where the product is; the background is the rest. Without
            one, or with one that leaves nothing, the background's entries
            are of the whole frame.

    Returns:
        `background_*` against the template and against the round trip,
        `ceiling_*` of the round trip against the template, and the motion
        of the whole frame, the template's beside it.
    """
    ground = None if mask is None else 1 - mask.to(result)
    if ground is not None and not ground.any():
        ground = None
    report = {}
    pairs = [('background_{}', result, template)]
    if round_trip is not None:
        pairs += [('background_{}_round_trip', result, round_trip),
                  ('ceiling_{}', round_trip, template)]
    for name, a, b in pairs:
        report[name.format('psnr')] = psnr(a, b, ground)
        report[name.format('ssim')] = ssim(a, b, ground)
    report['motion_difference'] = motion_difference(result, template)
    for name, video in (('', result), ('template_', template)):
        report[f'{name}motion_amount'] = motion_amount(video)
        report[f'{name}temporal_consistency'] = temporal_consistency(video)
    return report


def _weights(a, b, mask):
    r"""[T, H, W], ones without a mask, once everything is seen to fit."""
    if a.ndim != 4 or a.shape != b.shape:
        raise ValueError(
            f'The videos are {list(a.shape)} and {list(b.shape)}, expected '
            f'two of one shape [C, T, H, W].')
    size = a.shape[1:]
    if mask is None:
        return a.new_ones(1).expand(size)
    if mask.shape not in (size, (1, *size)):
        raise ValueError(
            f'The mask is {list(mask.shape)}, expected {list(size)}, with or '
            f'without a leading 1.')
    weights = mask.to(a).reshape(size)
    if not weights.any():
        raise ValueError('The mask is 0 everywhere: nothing to measure.')
    return weights


def _pairs(a, b):
    r"""The frames [C, H, W] of both, one by one to save memory."""
    return zip(a.unbind(1), b.unbind(1), strict=True)


def _mean(maps: Iterable[torch.Tensor], weights: torch.Tensor) -> float:
    r"""Weighted mean of [C, H, W] maps, one for each [H, W] of weights."""
    total = count = 0.
    for values, weight in zip(maps, weights, strict=True):
        total += (values * weight).sum().item()
        count += weight.sum().item() * len(values)
    return total / count


def _blur(maps: torch.Tensor) -> torch.Tensor:
    r"""Gaussian of 11x11, sigma 1.5, on [N, H, W] with zeros around."""
    n = len(maps)
    offset = torch.arange(-5, 6, dtype=maps.dtype, device=maps.device)
    kernel = torch.softmax(-offset.square() / (2 * 1.5**2), dim=0)
    # As channels, because that is ten times faster than as a batch.
    across = kernel.expand(n, 1, 1, 11)
    maps = F.conv2d(maps, across, padding=(0, 5), groups=n)
    return F.conv2d(maps, across.mT, padding=(5, 0), groups=n)


def _ssim_map(x, y, weight):
    r"""[C, H, W] of two frames, the windows weighed by [H, W]."""
    products = torch.stack([x, y, x * x, y * y, x * y]) * weight
    # No counted pixel has this little in its window; others are not read.
    share = _blur(weight[None]).clamp_min(1e-12)
    mean_x, mean_y, xx, yy, xy = (
        _blur(products.flatten(0, 1)) / share).unflatten(0, products.shape[:2])
    c1, c2 = (0.01 * PEAK)**2, (0.03 * PEAK)**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    variances = xx - mean_x**2 + yy - mean_y**2
    structure = (2 * (xy - mean_x * mean_y) + c2) / (variances + c2)
    return luminance * structure
