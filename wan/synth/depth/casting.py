r"""One body before the camera: what it covers and how it looks.

A pixel's middle decides, but for those at an edge of the body or between two
of its parts, where 3 x 3 rays do.
"""
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..drawing import Window, coordinates, toward
from ..scene import Light
from .bodies import Body, Chart, Vector
from .camera import DISTANCE, Camera, Place

# Rays along a side of a pixel at an edge.
FINE = 3
# The light's height over the floor.
HEIGHT = 0.85
SHININESS = 24
AMBIENT, DIFFUSE, HIGHLIGHT = 0.45, 0.7, 0.9

# (chart, pixel's width in the body's unit) -> [C, N]
Paint = Callable[[Chart, Tensor], Tensor]


class View(NamedTuple):
    r"""A body in the window of each frame that it can reach.

    Attributes:
        window: for `lay_over`.
        plane: [T, h, w] x and y of its pixels, see `Camera.rays`.
        pixel: [T or 1, 1, 1], their width there.
        place: of the body.
    """
    window: Window
    plane: tuple[Tensor, Tensor]
    pixel: Tensor
    place: Place


class Layer(NamedTuple):
    r"""[T, h, w] and [C, T, h, w]."""
    cover: Tensor
    colour: Tensor


def look_at(
    place: Place, body: Body, camera: Camera, shape: tuple[int, int]
) -> View:
    r"""The windows of a body in frames of (rows, columns) pixels."""
    pixel = 2 / shape[0]
    bounds = _bounds(place, body, camera)
    sides = [min(whole, math.ceil((high - low).max().item() / pixel) + 4)
             for whole, (low, high) in zip(shape, bounds, strict=True)]
    middles = [((low + high) / 2).flatten().tolist() for low, high in bounds]
    corners = [
        tuple(min(max(round(at / pixel + (whole - side) / 2), 0), whole - side)
              for at, side, whole in zip(centre, sides, shape, strict=True))
        for centre in zip(*middles, strict=True)]
    first = torch.tensor(corners)
    rows, columns = (
        coordinates(first[:, i, None], sides[i], shape[i], pixel)
        for i in (0, 1))
    plane = camera.plane(columns[:, None, :], rows[:, :, None])
    plane = torch.broadcast_tensors(*plane)
    width = pixel / camera.zoom
    window = Window(corners, *plane, width, place.yaw[0])
    return View(window, plane, width, place)


def cast(
    body: Body, view: View, camera: Camera, paint: Paint | None,
    light: Light | None = None, gloss: float = 0.,
) -> Layer:
    r"""The body as the camera sees it.

    Args:
        paint: None for the cover alone; the layer then has no colour.
        light: None for the paint as it is.
        gloss: of the highlight.
    """
    place, (x, y) = view.place, view.plane
    directions = place.inward(camera.rays(x, y))
    hit = body.hit(place.origin(camera.eye), directions)
    face = hit.face.expand(x.shape)
    edge = _edges(torch.where(face > 0, face.clamp_min(body.smooth), 0))
    cover = (face > 0).float()
    inner = ((face > 0) & ~edge).nonzero(as_tuple=True)
    outer = edge.nonzero(as_tuple=True)
    fine = _refined(view, camera, body, outer)
    cover[outer] = (fine[1].face > 0).float().mean(1)
    if paint is None:
        return Layer(cover, cover.new_zeros(0, *cover.shape))
    samples = [(inner[0], tuple(part[inner] for part in directions),
                hit.t[inner], face[inner])]
    number, ray = (fine[1].face > 0).nonzero(as_tuple=True)
    samples.append((outer[0][number], tuple(
        part[number, ray] for part in fine[0]), fine[1].t[number, ray],
        fine[1].face[number, ray]))
    frame, d, t, face = (
        _joined(parts) for parts in zip(*samples, strict=True))
    colour = _lit(body, view, camera, (frame, d, t, face), paint, light, gloss)
    out = colour.new_zeros(len(colour), *cover.shape)
    count = len(inner[0])
    out[(slice(None), *inner)] = colour[:, :count]
    total = colour.new_zeros(len(colour), len(outer[0]))
    total.index_add_(1, number, colour[:, count:])
    rays = (fine[1].face > 0).sum(1).clamp_min(1)
    out[(slice(None), *outer)] = total / rays
    return Layer(cover, out)


def sun(light: Light) -> tuple[float, float, float]:
    r"""The unit vector toward the light."""
    x, z = toward(torch.tensor(light.angle))
    return (x.item() * math.cos(HEIGHT), math.sin(HEIGHT),
            z.item() * math.cos(HEIGHT))


def _bounds(place: Place, body: Body, camera: Camera):
    r"""The least and the largest y, then x, of a body on the screen."""
    signs = torch.tensor(
        [(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    ).float().T[:, :, None, None]
    across, up = signs[0] * body.across, signs[1] * body.half
    cos, sin = (part.flatten()[:, None, None] for part in place.roll)
    # A roll is clockwise as the camera sees it.
    turned = (cos * across[:, 0, 0] + sin * up[:, 0, 0],
              cos * up[:, 0, 0] - sin * across[:, 0, 0],
              (signs[2] * body.across)[:, 0, 0])
    corners = tuple(c + place.size * part
                    for c, part in zip(place.centre, turned, strict=True))
    x, y, _ = camera.screen(corners)
    return [(part.amin(2), part.amax(2)) for part in (y, x)]


def _edges(face: Tensor) -> Tensor:
    r"""[T, h, w] of bool: not all of 3 x 3 pixels show the same part."""
    padded = F.pad(face, (1, 1, 1, 1))
    high, low = padded, padded
    for dim in (1, 2):
        size = high.size(dim) - 2
        parts = [[side.narrow(dim, i, size) for i in range(3)]
                 for side in (high, low)]
        high = parts[0][0].maximum(parts[0][1]).maximum(parts[0][2])
        low = parts[1][0].minimum(parts[1][1]).minimum(parts[1][2])
    return high != low


def _refined(view, camera, body, outer):
    r"""Directions [N, 9] through the pixels at edges, and what they hit."""
    steps = (torch.arange(FINE) + .5) / FINE - .5
    down, right = (part.flatten() for part in torch.meshgrid(
        steps, steps, indexing='ij'))
    pick = _picker(outer[0][:, None])
    width = pick(view.pixel)
    x, y = (part[outer][:, None] + width * step
            for part, step in zip(view.plane, (right, down), strict=True))
    place = view.place.map(pick)
    d = place.inward(camera.rays(x, y))
    return d, body.hit(place.origin(camera.eye), d)


def _picker(frame: Tensor) -> Callable[[Tensor], Tensor]:
    r"""[T or 1, 1, 1] -> for points that are each of a frame."""
    def pick(values):
        values = values.flatten()
        return values[frame] if len(values) > 1 else values
    return pick


def _joined(parts):
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(same) for same in zip(*parts, strict=True))
    return torch.cat(parts)


def _lit(body, view, camera, samples, paint, light, gloss) -> Tensor:
    r"""[C, N]: colours of points that rays meet."""
    frame, d, t, face = samples
    pick = _picker(frame)
    place = view.place.map(pick)
    point = tuple(o + t * part for o, part in zip(
        place.origin(camera.eye), d, strict=True))
    chart = body.chart(point, face)
    length = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).sqrt()
    facing = -_dot(chart.normal, d) / length
    # t is in units of the size and of the direction's length. A square pixel
    # is spread by the square root of its foreshortening on either side.
    pixel = pick(view.pixel) * t * length / DISTANCE
    pixel = pixel / facing.clamp(.15, 1).sqrt()
    colour = paint(chart, pixel)
    if light is None:
        return colour
    toward_light = place.inward(sun(light))
    half = tuple(a - b / length for a, b in zip(toward_light, d, strict=True))
    shine = (_dot(chart.normal, half) / _dot(half, half).sqrt()).clamp_min(0)
    lambert = _dot(chart.normal, toward_light).clamp_min(0)
    shade = 1 - AMBIENT * light.strength + DIFFUSE * light.strength * lambert
    bright = HIGHLIGHT * gloss * light.strength * shine.pow(SHININESS)
    return (colour * shade + bright).clamp_(0, 1)


def _dot(a: Vector, b: Vector) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
