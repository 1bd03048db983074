r"""Clips, masks and photos: the same seed gives the same bytes.

A product changes pixels only under its own coverage and shadow, so two clips
that differ in the product are equal elsewhere, bit for bit.
"""
import torch
from PIL import Image
from torch import Tensor

from .drawing import (
    OUTLINES,
    Track,
    as_column,
    coordinates,
    cover,
    draw,
    lay_over,
    locate,
    paint,
    toward,
    turned,
)
from .scene import SURFACE_COLOURS, Article, Clip, Light, Pose, Prop
from .surfaces import SURFACES

PHOTO_POSE = Pose(size=0.75)
PHOTO_LIGHT = Light()
PHOTO_GROUND = (0.86, 0.86, 0.86)


def render_clip(clip: Clip) -> Tensor:
    r"""[3, T, H, W] in [-1, 1]."""
    return _render(clip, _things(clip))


def render_background(clip: Clip) -> Tensor:
    r"""[3, T, H, W] in [-1, 1], without the product and its shadow."""
    return _render(clip, [item for item in _things(clip)
                          if isinstance(item[0], Prop)])


def visible_mask(clip: Clip) -> Tensor:
    r"""[T, H, W]: share of each pixel that shows the product, in [0, 1]."""
    mask = torch.zeros(1, clip.frames, *clip.shape)
    for thing, track in _things(clip):
        window = locate(track, clip.shape)
        value = torch.tensor(float(isinstance(thing, Article)))
        lay_over(mask, window, value.expand(1, *window.x.shape),
                  cover(thing, window))
    return mask[0]


def product_map(clip: Clip) -> Tensor:
    r"""[3, T, H, W]: share of each pixel that shows the product's first,
    second and third colour, in [0, 1]. Their sum is `visible_mask`."""
    shares = torch.zeros(3, clip.frames, *clip.shape)
    basis = [(1., 0., 0.), (0., 1., 0.), (0., 0., 1.)]
    for thing, track in _things(clip):
        window = locate(track, clip.shape)
        value = torch.zeros(3, 1, 1, 1)
        if isinstance(thing, Article):
            value = paint(
                thing, window, OUTLINES[thing.shape](window.x, window.y),
                basis[:len(thing.colours)])
        lay_over(shares, window, value.expand(3, *window.x.shape),
                  cover(thing, window))
    return shares


def render_photo(
    product: Article,
    pose: Pose = PHOTO_POSE,
    size: int = 128,
    light: Light = PHOTO_LIGHT,
) -> Image.Image:
    r"""The product on a plain light grey ground.

    Returns:
        RGBA image, size x size. Alpha is the product's coverage; under alpha 0
        there is the ground.
    """
    window = locate(_at(pose), (size, size))
    layer = draw(product, window, light)
    photo = as_column(PHOTO_GROUND).repeat(1, 1, size, size)
    alpha = torch.zeros(1, 1, size, size)
    lay_over(photo, window, layer.colour, layer.cover)
    lay_over(alpha, window, torch.ones_like(layer.cover)[None], layer.cover)
    pixels = torch.cat([photo, alpha])[:, 0].permute(1, 2, 0)
    return Image.fromarray((pixels * 255).round().byte().numpy())


def photo_pixels(photo: Image.Image) -> Tensor:
    r"""A photo as a clip of one frame, [3, 1, H, W] in [-1, 1]."""
    data = torch.frombuffer(
        bytearray(photo.convert('RGB').tobytes()), dtype=torch.uint8)
    pixels = data.view(1, photo.height, photo.width, 3).permute(3, 0, 1, 2)
    return pixels.float() / 127.5 - 1


def _render(clip: Clip, things: list[tuple[Article | Prop, Track]]) -> Tensor:
    surface = _surface(clip)
    frames = surface.repeat(1, clip.frames // surface.size(1), 1, 1)
    for thing, track in things:
        window = locate(track, clip.shape)
        layer = draw(thing, window, clip.scene.light)
        lay_over(frames, window, layer.colour, layer.cover, layer.shadow)
    return frames.mul_(2).sub_(1)


def _things(clip: Clip) -> list[tuple[Article | Prop, Track]]:
    r"""Article and props with their tracks on screen, the nearest last."""
    props = [(prop, _seen(_at(Pose(prop.x, prop.y, 0.0, prop.size)), clip))
             for prop in clip.scene.props]
    behind = [item for item in props if not item[0].front]
    front = [item for item in props if item[0].front]
    return [*behind, (clip.product, _seen(_moved(clip), clip)), *front]


def _at(pose: Pose) -> Track:
    return Track(*(torch.tensor(value, dtype=torch.float32).view(1, 1, 1)
                   for value in (pose.x, pose.y, pose.angle, pose.size)))


def _moved(clip: Clip) -> Track:
    motion, middle, progress = clip.motion, clip.motion.middle, _progress(clip)
    return Track(middle.x + motion.dx * progress,
                 middle.y + motion.dy * progress,
                 middle.angle + motion.turn * progress,
                 middle.size * (motion.growth * progress).exp())


def _progress(clip: Clip) -> Tensor:
    r"""[T, 1, 1] from -0.5 to 0.5; 0 for a single image."""
    if clip.frames == 1:
        return torch.zeros(1, 1, 1)
    return torch.linspace(-0.5, 0.5, clip.frames)[:, None, None]


def _camera(clip: Clip) -> tuple[Tensor, Tensor, Tensor]:
    r"""Centre and magnification, [T, 1, 1]; T is 1 if the camera is still."""
    motion, progress = clip.motion, torch.zeros(1, 1, 1)
    if motion.pan_x or motion.pan_y or motion.zoom:
        progress = _progress(clip)
    return (motion.pan_x * progress, motion.pan_y * progress,
            (motion.zoom * progress).exp())


def _seen(track: Track, clip: Clip) -> Track:
    r"""A track in the scene as the camera sees it."""
    x, y, zoom = _camera(clip)
    return Track((track.x - x) * zoom, (track.y - y) * zoom, track.angle,
                 track.size * zoom)


def _surface(clip: Clip) -> Tensor:
    r"""[3, T or 1, H, W] in [0, 1]: the textured surface in its light."""
    scene, (x, y, zoom) = clip.scene, _camera(clip)
    pixel = 2 / clip.size
    rows, columns = (coordinates(0, n, n, pixel) for n in clip.shape)
    x, y = torch.broadcast_tensors(x + columns[None, None, :] / zoom,
                                   y + rows[None, :, None] / zoom)
    lx, ly = toward(torch.tensor(scene.light.angle))
    lit = 1 + (lx * x + ly * y) * (0.14 * scene.light.strength)
    u, v = turned(x, y, torch.tensor(scene.angle))
    tone = SURFACES[scene.surface](
        u / scene.scale + scene.x, v / scene.scale + scene.y,
        pixel / zoom / scene.scale)
    return (as_column(SURFACE_COLOURS[scene.colour]) * (tone * lit)).clamp_(
        0, 1)
