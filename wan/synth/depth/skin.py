r"""A product's skin: a flat pattern wrapped around a body, with a label."""
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..drawing import Colour
from ..shapes import PATTERNS, SHAPES, coverage
from .bodies import Body, Chart
from .scene import AROUND, UPRIGHT, WINDING, Solid

# Of the label's frame, and of its mark, in units of the label's smaller half.
FRAME, MARK = .1, .72


def paint(
    solid: Solid, body: Body, chart: Chart, pixel: Tensor,
    palette: Sequence[Colour],
) -> Tensor:
    r"""[3, ...]: colours of points on a body.

    Args:
        chart: of the points.
        pixel: the width of a pixel there, in units of the body's size.
        palette: what stands for each of the product's colours.
    """
    shape = (3, *(1,) * chart.s.ndim)
    colours = [torch.tensor(colour).view(shape) for colour in palette]
    turned = chart.s - solid.phase * body.girth / (2 * math.pi)
    s = turned - body.girth * (turned / body.girth).round()
    out = colours[0].expand(3, *s.shape)
    pattern = PATTERNS[solid.pattern]
    if pattern is not None:
        x, y, rate = _wrapped(solid, body, s, chart.v)
        marks, third = pattern(x, y, pixel * chart.stretch * rate)
        second = colours[1]
        if len(colours) == 3:
            second = second + third * (colours[2] - second)
        out = out + marks * chart.printed * (second - out)
    if solid.mark is not None:
        out = _labelled(solid, body, chart, s, pixel, colours, out)
    return out


def _wrapped(
    solid: Solid, body: Body, s: Tensor, v: Tensor
) -> tuple[Tensor, Tensor, float]:
    r"""The pattern's coordinates, which close around the body, and their
    rate in periods per unit."""
    if solid.pattern == 'ringed':  # around the front
        return s / solid.period, v / solid.period, 1 / solid.period
    if solid.pattern == 'gradient':  # there and back, or from top to bottom
        x = 1.3 - 4.4 * s.abs() / body.girth
        if solid.lean != UPRIGHT:
            x = .2 - v / body.half
        return x, v, 1.
    # An even count, as colours may alternate.
    longer = math.sqrt(2) if solid.lean == WINDING else 1.
    count = 2 * max(1, round(
        body.girth / (2 * solid.period * longer)))
    rate = count / body.girth
    x, y = s * rate, v * rate
    if solid.lean == WINDING:
        return x + y, x - y, rate * longer
    if solid.lean == AROUND:
        return y, x, rate
    return x, y, rate


def _labelled(solid, body, chart, s, pixel, colours, out) -> Tensor:
    r"""The label over the pattern: a frame, a plate and a mark."""
    middle, wide, high = body.label
    v, side = chart.v - middle, min(wide, high)
    # What faces up or down, and a box's other faces, have no label.
    front = chart.printed * (chart.normal[1].abs() < .9)
    edge = torch.maximum(s.abs() - wide, v.abs() - high)
    wide_pixel = pixel * chart.stretch
    frame = coverage(edge, wide_pixel) * front
    plate = coverage(edge + FRAME * side, wide_pixel) * front
    unit = MARK * side
    mark = coverage(SHAPES[solid.mark](s / unit, v / unit), wide_pixel / unit)
    main, last = colours[0], colours[-1]
    out = out + frame * (main - out)
    inked = last + mark * (main - last)
    return out + plate * (inked - out)
