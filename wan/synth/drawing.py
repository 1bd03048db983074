r"""One thing at its poses: where it is, what it covers and how it looks.

Everything is float32 and elementwise, in the thing's own frame and unit, and
only in the window of each frame that the thing can reach.
"""
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .scene import PRODUCT_COLOURS, SURFACE_COLOURS, Article, Light, Prop
from .shapes import PATTERNS, PROP_SHAPES, SHAPES, coverage

OUTLINES = SHAPES | PROP_SHAPES
Colour = tuple[float, float, float]

# In units of the size of the thing that is drawn.
RIM = 0.09
BEVEL = 0.3
SHADOW_OFFSET = 0.2
SHADOW_BLUR = 0.22
REACH = 1.05 + SHADOW_OFFSET + SHADOW_BLUR
STEP = 0.05  # of the slope's finite difference


class Track(NamedTuple):
    r"""Poses on the screen, each [T, 1, 1]; T is 1 for what does not move."""
    x: Tensor
    y: Tensor
    angle: Tensor
    size: Tensor


class Window(NamedTuple):
    r"""The part of each frame that a thing can reach.

    Attributes:
        corners: row and column of the first pixel, T of them.
        x, y: [T, h, w] coordinates in the thing's own frame and unit.
        pixel: [T, 1, 1], the width of a pixel in that unit.
        angle: [T, 1, 1], by which that frame is turned.
    """
    corners: list[tuple[int, int]]
    x: Tensor
    y: Tensor
    pixel: Tensor
    angle: Tensor


class Layer(NamedTuple):
    r"""A drawn thing: [T, h, w], the colour [3, T, h, w] in [0, 1]."""
    cover: Tensor
    shadow: Tensor
    colour: Tensor


def locate(track: Track, shape: tuple[int, int]) -> Window:
    r"""The windows of a thing in frames of (rows, columns) pixels."""
    pixel = 2 / shape[0]
    largest = track.size.max().item()
    reach = math.ceil(2 * REACH * largest / pixel) + 2
    sides = [min(whole, reach) for whole in shape]
    corners = [
        tuple(min(max(round(at / pixel + (whole - side) / 2), 0), whole - side)
              for at, side, whole in zip(centre, sides, shape, strict=True))
        for centre in zip(track.y.flatten().tolist(),
                          track.x.flatten().tolist(), strict=True)]
    first = torch.tensor(corners)
    rows, columns = (
        coordinates(first[:, i, None], sides[i], shape[i], pixel)
        for i in (0, 1))
    rows, columns = rows[:, :, None], columns[:, None, :]
    x, y = turned(columns - track.x, rows - track.y, track.angle)
    return Window(corners, x / track.size, y / track.size, pixel / track.size,
                  track.angle)


def coordinates(
    first: Tensor | int, count: int, whole: int, pixel: float
) -> Tensor:
    r"""[..., count] of a row or column of pixels, its middle being 0.

    Args:
        first: pixel, [..., 1] of them.
        count, whole: pixels wanted, and of the whole frame.
        pixel: the width of one.
    """
    return (first + torch.arange(count) + 0.5) * pixel - whole * pixel / 2


def cover(thing: Article | Prop, window: Window) -> Tensor:
    r"""[T, h, w]: share of each pixel that the thing covers, in [0, 1]."""
    return coverage(OUTLINES[thing.shape](window.x, window.y), window.pixel)


def draw(thing: Article | Prop, window: Window, light: Light) -> Layer:
    r"""Cover, shadow and lit colour of a thing."""
    x, y, distance = window.x, window.y, OUTLINES[thing.shape]
    lx, ly = toward(light.angle - window.angle)
    inside = distance(x, y)
    slope = (distance(x + STEP * lx, y + STEP * ly) - inside).div_(STEP)
    caster = distance(x + SHADOW_OFFSET * lx, y + SHADOW_OFFSET * ly)
    depth = (0.5 - caster / (2 * SHADOW_BLUR)).clamp_(0, 1)
    shadow = depth.square().mul_(3 - 2 * depth).mul_(0.5 * light.strength)
    # The edge slopes outward, a ball all the way; far from the light is dimmer.
    edge = (1 + inside / (1 if thing.shape == 'ball' else BEVEL)).clamp_(0, 1)
    shade = slope.mul_(edge.square_()).mul_(0.32 * light.strength)
    shade += (lx * x + ly * y).mul_(0.1 * light.strength).add_(0.97)
    if isinstance(thing, Prop):
        colour = as_column(SURFACE_COLOURS[thing.colour])
    else:
        colour = paint(thing, window, inside, [
            PRODUCT_COLOURS[name] for name in thing.colours])
    return Layer(coverage(inside, window.pixel), shadow,
                 (colour * shade).clamp_(0, 1))


def lay_over(
    frames: Tensor,
    window: Window,
    colour: Tensor,
    cover: Tensor,
    shadow: Tensor | None = None,
) -> None:
    r"""Darken `frames` by the shadow and put the colour over them, in place.

    Where cover and shadow are 0 the frames keep their bits.

    Args:
        frames: [C, T, H, W].
        window: of T frames, or of 1 for all of them.
        colour: [C, T, h, w].
        cover, shadow: [T, h, w] in [0, 1].
    """
    (high, wide), moves = window.x.shape[1:], len(window.corners) > 1
    for t, (row, column) in enumerate(window.corners):
        at = slice(t, t + 1)
        region = frames[:, at] if moves else frames
        region = region[..., row:row + high, column:column + wide]
        if shadow is not None:
            region.mul_(1 - shadow[at])
        region.lerp_(colour[:, at], cover[at])


def paint(
    product: Article, window: Window, inside: Tensor, palette: Sequence[Colour]
) -> Tensor:
    r"""The pattern under a rim of the main colour.

    Args:
        inside: [T, h, w], the distance to the outline.
        palette: what stands for each of the product's colours.

    Returns:
        [3, T, h, w], or [3, 1, 1, 1] of a solid product.
    """
    colours = [as_column(colour) for colour in palette]
    pattern = PATTERNS[product.pattern]
    if pattern is None:
        return colours[0]
    u, v = turned(window.x, window.y, torch.tensor(product.angle))
    marks, third = pattern(u / product.period, v / product.period,
                           window.pixel / product.period)
    marks = marks * coverage(inside + RIM, window.pixel)
    second = colours[1]
    if len(colours) == 3:
        second = second + third * (colours[2] - second)
    return colours[0] + marks * (second - colours[0])


def as_column(colour: Colour) -> Tensor:
    r"""[3, 1, 1, 1]."""
    return torch.tensor(colour)[:, None, None, None]


def turned(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    r"""Coordinates in a frame that is turned by `angle`."""
    cos, sin = toward(angle)
    return cos * x + sin * y, cos * y - sin * x


def toward(angle: Tensor) -> tuple[Tensor, Tensor]:
    r"""The unit vector of an angle."""
    return angle.cos(), angle.sin()
