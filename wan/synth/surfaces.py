r"""Textures of the surfaces: brightness around 1, by which a colour is scaled.

Coordinates are in half frames, as float32 tensors of one shape; `pixel` is
the width of a pixel in the same unit.
"""
import math

import torch
from torch import Tensor

from .shapes import coverage


def plain(x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    return torch.ones_like(x)


def wooden(x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    r"""Planks with grain along x."""
    rows = y / 0.52
    plank = rows.floor()
    seam = coverage((rows - plank - 0.5).abs_().neg_().add_(0.5).mul_(0.52)
                    .sub_(0.018), pixel)
    bend = (x * 2.1 + plank * 5).sin_().mul_(0.9)
    grain = (y * 31 + bend + plank * 11).sin_().mul_(0.035)
    grain += (y * 13 + bend * 2 + x * 0.8).sin_().mul_(0.05)
    shade = (plank * 2.4).sin_().mul_(0.05)
    return (1.02 + grain + shade) * (1 - 0.4 * seam)


def tiled(x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    u, v = x / 0.5, y / 0.5
    i, j = u.floor(), v.floor()
    edge = torch.maximum((u - i - 0.5).abs_(), (v - j - 0.5).abs_())
    joint = coverage((0.5 - edge).mul_(0.5).sub_(0.02), pixel)
    shade = (i * 2.4 + j * 3.7).sin_().mul_(0.06)
    return (1.03 + shade) * (1 - 0.35 * joint)


def marble(x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    r"""Veins along the zeros of a warped wave."""
    warp = (x * 2.3 + (y * 3.1).sin()).sin_()
    wave = (x * 2.2 + y * 3.0 + warp * 1.7).sin_()
    vein = (1 - wave.abs() * 4).clamp_(min=0)
    return 1.04 + 0.07 * warp * wave - 0.3 * vein


def woven(x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    wave = 2 * math.pi / 0.16
    return 1 + 0.17 * (x * wave).sin_() * (y * wave).sin_()


def studio(x: Tensor, y: Tensor, pixel: Tensor) -> Tensor:
    r"""A backdrop that darkens from top to bottom."""
    return 0.93 - 0.35 * torch.tanh(y * 1.2)


SURFACES = {
    surface.__name__: surface
    for surface in (plain, wooden, tiled, marble, woven, studio)}
