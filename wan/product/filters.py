r"""Small image operations that the masks are made with.

Maps are [T, H, W], frames of one channel. All are float32, deterministic and
run where their input is.
"""
import math

import torch
import torch.nn.functional as F


def blur(x: torch.Tensor, sigma: float, dim: int) -> torch.Tensor:
    r"""Gaussian blur along one dimension, the edge values continued.

    Args:
        x: any shape.
        sigma: in cells; the kernel reaches ceil(3 sigma) to either side.
        dim: the dimension.
    """
    reach = math.ceil(3 * sigma)
    if reach == 0:
        return x
    offsets = torch.arange(-reach, reach + 1)
    kernel = torch.exp(-.5 * (offsets / sigma).square())
    kernel /= kernel.sum()
    places = torch.arange(x.size(dim), device=x.device)
    # A sum of shifted copies: no convolution, whose float32 may be rounded to
    # TF32 on a GPU.
    return sum(
        weight * x.index_select(
            dim, (places + shift).clamp(0, x.size(dim) - 1))
        for shift, weight in zip(
            offsets.tolist(), kernel.tolist(), strict=True))


def dilate(x: torch.Tensor, radius: int) -> torch.Tensor:
    r"""Maximum over a square of 2 radius + 1 cells in each frame."""
    side = 2 * radius + 1
    columns = F.max_pool2d(x, (side, 1), 1, (radius, 0))
    return F.max_pool2d(columns, (1, side), 1, (0, radius))


def erode(x: torch.Tensor, radius: int) -> torch.Tensor:
    r"""Minimum over a square; beyond the frame's edge nothing counts."""
    return -dilate(-x, radius)


def spread(values: torch.Tensor, within: torch.Tensor) -> torch.Tensor:
    r"""Carry each region's largest value to all of the region.

    Regions are the cells of `within` joined by their sides, not corners: a
    diagonal line one cell wide holds a flood back.

    Args:
        values: [T, H, W], at least 0.
        within: [T, H, W], 1 inside regions, 0 outside.
    """
    values = values * within
    while True:
        before = values
        for _ in range(16):  # comparing costs as much as a step
            values = torch.maximum(
                F.max_pool2d(values, (3, 1), 1, (1, 0)),
                F.max_pool2d(values, (1, 3), 1, (0, 1))) * within
        if torch.equal(values, before):
            return values


def otsu(x: torch.Tensor) -> float:
    r"""The threshold that separates values in [0, 1] best (Otsu, 1979).

    It maximises the variance between the two classes, over 256 bins; in the
    gap between two clear classes it is the gap's middle.
    """
    counts = torch.histc(x.float().cpu(), 256, 0, 1).double()
    centres = (torch.arange(256, dtype=torch.float64) + .5) / 256
    below = counts.cumsum(0)
    above = below[-1] - below
    mass = (counts * centres).cumsum(0)
    between = (mass * below[-1] - mass[-1] * below).square() \
        / (below * above).clamp_min(1)
    best = (between >= between.max() * (1 - 1e-9)).nonzero()
    # A threshold of bin i lies at its upper edge.
    return float(centres[best].mean()) + .5 / 256
