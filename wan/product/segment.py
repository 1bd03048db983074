r"""The product in a photo with a plain ground, without a further model."""
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from .filters import blur, dilate, erode, otsu, spread

# Photos are segmented at this many pixels on the longer side; the lengths
# below refer to it.
WORKING_SIDE = 256
# Colour differences are CIE Lab distances; 2 is just visible.
# A ground is plain if this share of the border fits within this distance.
PLAIN_SHARE, PLAIN_DISTANCE = 0.65, 12.
# Allowed thresholds between ground and product.
MIN_DISTANCE = 3.
# Shading of the ground: its lightness may fall to and rise to these ratios,
# at most so many units a pixel, and the hue stays.
SHADE_RATIO, SHADE_SLOPE, SHADE_CHROMA = (0.5, 1.07), 3.5, 6.
# The ground seen through a ring or handle, at least 2 of these radii wide.
OPENING_RADIUS = 5
# A flood of shading that leaves less than this share has broken into the
# product, beside a shadow as light as it.
LEAK_SHARE = 0.5
# Parts smaller than this share of the largest one are dirt.
PART_SHARE = 0.05
# Shares of the photo that a product may have.
MIN_SHARE, MAX_SHARE = 0.002, 0.98


def segment(image: Image.Image) -> torch.Tensor | None:
    r"""The product on a plain ground, soft shadows left out.

    The ground's colour is fitted to the photo's border. From there it is
    flooded across what has its colour and across what is the same in other
    light: hue kept, lightness changing only gradually.

    Args:
        image: mode RGB.

    Returns:
        [H, W] in [0, 1], or None: the ground is not plain, or nothing stands
        out from it, or everything does.
    """
    zoom = WORKING_SIDE / max(image.size)
    small = image.resize(
        tuple(max(1, round(zoom * side)) for side in image.size),
        Image.Resampling.BILINEAR)
    lab = _lab(torch.from_numpy(
        np.array(small, dtype=np.float32)).permute(2, 0, 1) / 255)
    edge = border(lab.shape[1:])
    ground = _fit_ground(lab, edge)
    # Light scales all of Lab alike, counted from a lightness of -16.
    ratio = (lab[0] + 16) / (ground[0] + 16)
    chroma = torch.linalg.vector_norm(lab[1:] - ratio * ground[1:], dim=0)
    distance = torch.hypot(lab[0] - ground[0], chroma)
    at_edge = distance[edge]
    if (at_edge < PLAIN_DISTANCE).float().mean() < PLAIN_SHARE:
        return None
    noise = 1.5 * float(at_edge.median())
    cut = 100 * otsu((distance / 100).clamp(0, 1))
    cut = min(max(cut, MIN_DISTANCE, 4 * noise), PLAIN_DISTANCE)

    even = distance < cut
    shaded = (chroma < SHADE_CHROMA + noise) & (_slope(lab[0]) < SHADE_SLOPE) \
        & (ratio > SHADE_RATIO[0]) & (ratio < SHADE_RATIO[1])
    same = _smooth(distance[None]) < max(MIN_DISTANCE / 2, 2 * noise)
    openings = erode(same.float(), OPENING_RADIUS) > 0
    seeds = ((edge & even)[None] | openings).float()
    rough, product = (
        _main_parts(1 - spread(seeds, passable.float()))
        for passable in (even, even | shaded))
    if product.mean() < LEAK_SHARE * rough.mean():
        product = rough
    if not MIN_SHARE < product.mean() < MAX_SHARE:
        return None
    return F.interpolate(
        product[None], (image.height, image.width), mode='bilinear')[0, 0]


def _main_parts(mask: torch.Tensor) -> torch.Tensor:
    r"""[1, H, W] without threads and specks."""
    # Thin parts stay where they hang on a thicker one.
    mask = spread(erode(mask, 1), mask)
    numbers = torch.arange(1., mask.numel() + 1).view_as(mask)
    parts = spread(numbers, dilate(mask, 2)).long() * mask.long()
    areas = parts.flatten().bincount()
    areas[0] = 0
    return (areas >= PART_SHARE * areas.max())[parts].float() * mask


def _fit_ground(lab: torch.Tensor, edge: torch.Tensor) -> torch.Tensor:
    r"""The quadratic surface in [3, H, W] nearest to the border's pixels.

    In the sum of absolute distances, so that a product that touches the
    border counts as little as in a median.
    """
    y, x = torch.meshgrid(
        *(torch.linspace(-1, 1, n, dtype=torch.float64)
          for n in lab.shape[1:]), indexing='ij')
    terms = torch.stack([x**0, x, y, x * y, x * x, y * y], dim=-1)
    at, values = terms[edge].numpy(), lab[:, edge].T.double().numpy()
    weight = np.ones((len(at), 1))
    for _ in range(20):  # iteratively reweighted least squares
        fit = np.linalg.lstsq(at * weight, values * weight, rcond=None)[0]
        error = np.linalg.norm(at @ fit - values, axis=1, keepdims=True)
        weight = (error + 0.1) ** -0.5
    return (terms @ torch.from_numpy(fit)).permute(2, 0, 1).float()


def _lab(rgb: torch.Tensor) -> torch.Tensor:
    r"""sRGB in [0, 1] to CIE Lab with its white, both [3, H, W]."""
    linear = torch.where(
        rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = torch.tensor([[0.4124, 0.3576, 0.1805],
                           [0.2126, 0.7152, 0.0722],
                           [0.0193, 0.1192, 0.9505]])
    to_xyz = to_xyz / to_xyz.sum(1, keepdim=True)
    xyz = torch.einsum('ij,jhw->ihw', to_xyz, linear)
    x, y, z = torch.where(
        xyz > (6 / 29) ** 3, xyz ** (1 / 3),
        xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _smooth(x: torch.Tensor) -> torch.Tensor:
    return blur(blur(x, 1, -1), 1, -2)


def _slope(lightness: torch.Tensor) -> torch.Tensor:
    r"""Change per pixel of [H, W], noise smoothed."""
    smooth = _smooth(lightness)[None]
    return (dilate(smooth, 1) - erode(smooth, 1))[0] / 2


def border(size: tuple[int, int]) -> torch.Tensor:
    r"""[H, W], true in a ring of 2 % of the longer side."""
    width = math.ceil(0.02 * max(size))
    ring = torch.ones(size, dtype=torch.bool)
    ring[width:-width, width:-width] = False
    return ring
