r"""Draw the example of product video template transfer, as committed.

    python tools/make_examples.py [examples]

The template is a red mug that turns on a wooden table while the camera moves;
the product photo is a striped vase with a transparent ground. Both are made of
distance functions and sphere tracing (Hart 1996), so they are free of rights.
"""
import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wan.utils.video_writer import write_video

FRAMES, FPS, SIDE, PHOTO_SIDE = 33, 16, 256, 320
OVERSAMPLING = 3
STEPS, FAR, NEAR = 90, 9.0, 2e-3
LIGHT = np.float32([-.478, .766, .43])  # of length 1
RED, TEAL, CREAM = (.62, .05, .045), (.0, .24, .25), (.80, .72, .56)
WALL, WOOD, GRAIN = (.60, .62, .60), (.42, .24, .115), (.24, .12, .05)

Field = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Product:
    r"""A body on the table, inside the ball around `centre`.

    Args:
        distance: lower bound of the distance to it, points [N, 3] to [N].
        colour: of its surface in linear light, points [N, 3] to [N, 3].
    """
    distance: Field
    colour: Field
    centre: tuple[float, float, float]
    radius: float


def mug(angle: float, x: float) -> Product:
    r"""A mug whose handle points to `angle` (radians), at `x` on the table."""
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0],
                     [np.sin(angle), 0, np.cos(angle)]], np.float32)

    def distance(points):
        p = (points - np.float32([x, 0, 0])) @ turn.T
        across = np.hypot(p[:, 0], p[:, 2])
        body = _cylinder(across, p[:, 1] - .5, .42, .5, .05)
        hollow = _cylinder(across, p[:, 1] - .62, .35, .5, .06)
        ring = np.hypot(np.hypot(p[:, 0] - .45, (p[:, 1] - .5) * .85) - .25,
                        p[:, 2]) - .062
        return np.maximum(_union(body, ring, .06), -hollow)

    return Product(
        distance, lambda points: np.full_like(points, RED), (x, .5, 0), 1.)


def vase() -> Product:
    r"""A striped vase in the middle of the table."""

    def distance(points):
        y, across = points[:, 1], np.hypot(points[:, 0], points[:, 2])
        width = .19 + .31 * np.exp(-((y - .48) / .36)**2) + .16 * _smooth(
            1.05, 1.42, y)
        wall = (across - width) * .7
        outer = np.maximum(wall, np.abs(y - .68) - .68)
        return np.maximum(outer, -np.maximum(wall + .035, 1. - y))

    def colour(points):
        y = points[:, 1]
        band = _smooth(-.12, .12, np.sin(2 * np.pi * (y - .1) / .3) - .25)
        band = (band * ((y > .12) & (y < 1.1)))[:, None]
        return np.float32(TEAL) * (1 - band) + np.float32(CREAM) * band

    return Product(distance, colour, (0, .68, 0), .98)


def render(
    product: Product, side: int, eye: tuple[float, float, float],
    target: tuple[float, float, float], room: bool = True,
) -> np.ndarray:
    r"""A square picture, RGB and the product's coverage, [side, side, 4].

    Without the room the colours are the product's alone, up to its edge.
    """
    origin, rays = _camera(side * OVERSAMPLING, eye, target)
    depth = _trace(product, origin, rays)
    hit = depth < FAR
    pixels = np.zeros((len(rays), 4), np.float32)
    pixels[:, 3] = hit
    pixels[hit, :3] = _shade_product(
        product, origin[hit] + depth[hit, None] * rays[hit], rays[hit])
    if room:
        pixels[~hit, :3] = _shade_room(product, origin[~hit], rays[~hit])
    # Clipped before averaging, or a highlight's edge would stay jagged.
    shape = (side, OVERSAMPLING, side, OVERSAMPLING, 4)
    pixels = pixels.clip(0, 1).reshape(shape).mean((1, 3))
    if not room:
        pixels[..., :3] /= np.maximum(pixels[..., 3:], 1e-6)
    pixels[..., :3] **= 1 / 2.2
    return pixels


def _camera(side, eye, target):
    eye, target = np.float32(eye), np.float32(target)
    forward = _unit(target - eye)
    right = _unit(np.cross(forward, np.float32([0, 1, 0])))
    up = np.cross(right, forward)
    span = np.linspace(-.36, .36, side, dtype=np.float32)
    x, y = np.meshgrid(span, -span)
    rays = forward + x[..., None] * right + y[..., None] * up
    rays = _unit(rays).reshape(-1, 3)
    return np.broadcast_to(eye, rays.shape), rays


def _trace(product, origin, rays):
    r"""Distance along each ray to the product, FAR where it is missed."""
    offset = np.float32(product.centre) - origin
    along = (offset * rays).sum(1)
    closest = (offset**2).sum(1) - along**2
    reach = np.sqrt(np.maximum(product.radius**2 - closest, 0))
    travelled = np.maximum(along - reach, 0)
    result = np.full(len(rays), FAR, np.float32)
    active = np.flatnonzero((reach > 0) & (along + reach > 0))
    for _ in range(STEPS):
        points = origin[active] + travelled[active, None] * rays[active]
        gap = product.distance(points)
        found = active[gap < NEAR]
        result[found] = travelled[found]
        travelled[active] += gap
        inside = travelled[active] < along[active] + reach[active]
        active = active[(gap >= NEAR) & inside]
    return result


def _shade_product(product, points, rays):
    normal = _unit(np.stack([
        product.distance(points + step) - product.distance(points - step)
        for step in np.eye(3, dtype=np.float32) * 2e-3], 1))
    lit = np.maximum(normal @ LIGHT, 0) * _shadow(
        product, points + 2e-2 * normal)
    half = _unit(LIGHT - rays)
    shine = .5 * np.maximum((normal * half).sum(1), 0)**60
    edge = .12 * (1 + np.minimum((normal * rays).sum(1), 0))**3
    sky = .35 + .25 * normal[:, 1] + .15 * normal[:, 2]
    near_table = .55 + .45 * _smooth(0, .35, points[:, 1])
    light = (.95 * lit + sky * near_table)[:, None]
    return product.colour(points) * light + (shine * lit + edge)[:, None]


def _shade_room(product, origin, rays):
    r"""The table y = 0, fading into a wall."""
    down = np.minimum(rays[:, 1], -1e-4)
    points = origin + (-origin[:, 1] / down)[:, None] * rays
    light = .34 + .85 * _shadow(product, points)
    ground = np.hypot(points[:, 0] - product.centre[0], points[:, 2])
    light *= 1 - .45 * np.exp(-(np.maximum(ground - .3, 0) / .16)**2)
    table = _wood(points) * light[:, None]
    wall = np.float32(WALL) * (.75 + .8 * rays[:, 1:2] - .15 * rays[:, :1])
    behind = ((points[:, 2] < -1.9) | (rays[:, 1] > -1e-3))[:, None]
    return np.where(behind, wall, table)


def _wood(points):
    x, z = points[:, 0], points[:, 2]
    board = np.floor(z / .62)
    shift = np.sin(board * 12.9898) * 43.7
    wave = .22 * np.sin(1.3 * x + shift) + .05 * np.sin(5.1 * x + 3 * shift)
    bend = 2.3 * np.sin(.8 * x + shift)
    rings = .5 + .5 * np.sin(24 * (z + .35 * wave) + bend)
    fine = .5 + .5 * np.sin(95 * (z + .1 * wave) + shift)
    share = (.38 * rings + .14 * fine + .2 * np.sin(shift))[:, None]
    seam = np.abs(z / .62 - board - .5)
    dark = (1 - .55 * _smooth(.485, .498, seam))[:, None]
    return (np.float32(WOOD) * (1 - share) + np.float32(GRAIN) * share) * dark


def _shadow(product, points):
    r"""1 in full light to 0, softer with the way to what blocks it."""
    offset = np.float32(product.centre) - points
    along = offset @ LIGHT
    closest = (offset**2).sum(1) - along**2
    near = (product.radius + .4)**2
    active = np.flatnonzero((closest < near) & (along > -1))
    light = np.ones(len(points), np.float32)
    travelled = np.full(len(points), .03, np.float32)
    for _ in range(40):
        gap = product.distance(
            points[active] + travelled[active, None] * LIGHT)
        light[active] = np.minimum(
            light[active], .5 + 4.5 * gap / travelled[active])
        travelled[active] += np.clip(gap, .02, .2)
        active = active[(light[active] > 0) & (travelled[active] < 3)]
    return _smooth(0, 1, light)


def _cylinder(across, height, radius, half, rounding):
    x, y = across - radius + rounding, np.abs(height) - half + rounding
    inside = np.minimum(np.maximum(x, y), 0) - rounding
    return np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + inside


def _union(a, b, blend):
    r"""The smaller of two distances with a fillet of width `blend`."""
    h = np.maximum(blend - np.abs(a - b), 0) / blend
    return np.minimum(a, b) - h**2 * blend / 4


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _smooth(low, high, x):
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def template() -> list[np.ndarray]:
    r"""The frames, uint8 [H, W, 4], the product's coverage in the last."""
    pictures = [
        render(mug(angle=.2 - .75 * t, x=.10 * t), SIDE,
               eye=(-.6 * t, 1.75, 3.25), target=(.06 * t + .1, .46, 0))
        for t in np.linspace(-1, 1, FRAMES)]
    return [(p * 255).round().astype(np.uint8) for p in pictures]


def photo() -> np.ndarray:
    r"""uint8 [H, W, 4], transparent around the product."""
    picture = render(
        vase(), PHOTO_SIDE, eye=(0, 1.85, 2.6), target=(0, .66, 0),
        room=False)
    return (picture * 255).round().astype(np.uint8)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', nargs='?', default='examples', type=Path)
    folder = parser.parse_args().folder
    frames = template()
    write_video(folder / 'template.mp4', (f[..., :3] for f in frames), FPS)
    write_video(
        folder / 'template_mask.mp4',
        (np.repeat(f[..., 3:], 3, axis=2) for f in frames), FPS)
    Image.fromarray(photo()).save(folder / 'product.png', optimize=True)
    logging.info('Wrote the template, its mask and the photo to %s', folder)


if __name__ == '__main__':
    main()
