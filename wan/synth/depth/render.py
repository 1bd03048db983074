r"""Clips, masks and photos of solids: the same seed gives the same bytes.

A product changes pixels only under its own coverage and shadow, so two clips
that differ in the product are equal elsewhere, bit for bit.
"""
import math
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from ..drawing import as_column, coordinates, lay_over, toward, turned
from ..render import PHOTO_GROUND
from ..scene import PRODUCT_COLOURS, SURFACE_COLOURS, Light
from ..surfaces import SURFACES
from .bodies import Body, body_of, body_of_thing
from .camera import DISTANCE, Camera, Place, moved, passing, standing
from .casting import HEIGHT, Layer, View, cast, look_at, sun
from .scene import DepthClip, Room, Solid, Stand
from .skin import paint

# From the front and the left, as in a studio.
PHOTO_LIGHT = Light(2.2)
PHOTO_STAND = Stand(size=.72)
BASIS = [(1., 0., 0.), (0., 1., 0.), (0., 0., 1.)]
# Of a shadow: its depth, its blur near the foot, and what its end adds.
SHADE, BLUR, SOFTER = .55, .12, .3
CONTACT, NEAR = .35, .16


def render_depth_clip(clip: DepthClip) -> Tensor:
    r"""[3, T, H, W] in [-1, 1]."""
    return _render(clip, True)


def render_depth_background(clip: DepthClip) -> Tensor:
    r"""[3, T, H, W] in [-1, 1], without the product and its shadow."""
    return _render(clip, False)


def depth_mask(clip: DepthClip) -> Tensor:
    r"""[T, H, W]: share of each pixel that shows the product, in [0, 1]."""
    return _shares(clip, 1, False)[0]


def depth_map(clip: DepthClip) -> Tensor:
    r"""[3, T, H, W]: share of each pixel that shows the product's first,
    second and third colour, in [0, 1]. Their sum is `depth_mask`."""
    return _shares(clip, 3, False)


def hidden_mask(clip: DepthClip) -> Tensor:
    r"""[T, H, W]: share of each pixel where something stands before the
    product, in [0, 1]."""
    whole = _shares(clip, 1, True)[0]
    return (whole - depth_mask(clip)).clamp_min(0)


def render_solid(
    solid: Solid,
    stand: Stand = PHOTO_STAND,
    elevation: float = .25,
    size: int = 128,
    light: Light = PHOTO_LIGHT,
) -> Image.Image:
    r"""A photo of the product on a plain light grey ground.

    Args:
        stand: its yaw is the side that is seen; its middle is the picture's.
        elevation: of the camera.

    Returns:
        RGBA image, size x size. Alpha is the product's coverage.
    """
    body = body_of(solid)
    view, camera = _photo_view(body, stand, elevation, size)
    layer = _product(solid, body, view, camera, light)
    photo = as_column(PHOTO_GROUND).repeat(1, 1, size, size)
    alpha = torch.zeros(1, 1, size, size)
    lay_over(photo, view.window, layer.colour, layer.cover)
    lay_over(alpha, view.window, torch.ones_like(layer.cover)[None],
             layer.cover)
    pixels = torch.cat([photo, alpha])[:, 0].permute(1, 2, 0)
    return Image.fromarray((pixels * 255).round().byte().numpy())


def solid_map(
    solid: Solid,
    stand: Stand = PHOTO_STAND,
    elevation: float = .25,
    size: int = 128,
) -> Tensor:
    r"""[3, 1, H, W]: `depth_map` of what `render_solid` shows."""
    body = body_of(solid)
    view, camera = _photo_view(body, stand, elevation, size)
    layer = cast(body, view, camera, partial(
        _skin, solid, body, BASIS[:len(solid.colours)]))
    shares = torch.zeros(3, 1, size, size)
    lay_over(shares, view.window, layer.colour, layer.cover)
    return shares


def _photo_view(
    body: Body, stand: Stand, elevation: float, size: int
) -> tuple[View, Camera]:
    camera, place = Camera.still(elevation), standing(stand, body)
    # The picture's middle is the product's, whatever its height.
    x, y, _ = camera.screen(place.centre)
    camera = camera._replace(x=x - stand.x, y=y - stand.z)
    return look_at(place, body, camera, (size, size)), camera


def _bodies(clip: DepthClip) -> list[tuple[Body, Place, str | None]]:
    r"""All that stands in the room, the farthest first; colours of things."""
    found = []
    for thing in clip.room.things:
        body = body_of_thing(thing.shape)
        found.append((thing.z, body, passing(thing, body, clip.frames),
                      thing.colour))
    body = body_of(clip.product)
    found.append((clip.motion.middle.z, body,
                  moved(clip.motion, body, clip.frames), None))
    return [rest for _, *rest in sorted(found, key=lambda item: item[0])]


def _render(clip: DepthClip, whole: bool) -> Tensor:
    camera, light = Camera.of(clip), clip.room.light
    bodies = [item for item in _bodies(clip) if whole or item[2] is not None]
    ground, x, z = _ground(clip.room, camera, clip.shape)
    moves = ground.size(1) > 1 or any(
        len(place.size) > 1 for _, place, _ in bodies)
    frames = ground.repeat(
        1, clip.frames // ground.size(1) if moves else 1, 1, 1)
    for body, place, _ in bodies:
        frames.mul_(1 - _shadow(body, place, x, z, light))
    frames = frames.repeat(1, clip.frames // frames.size(1), 1, 1)
    for body, place, colour in bodies:
        view = look_at(place.of_frames(len(camera.zoom)), body, camera,
                       clip.shape)
        layer = _product(clip.product, body, view, camera, light) \
            if colour is None else cast(
                body, view, camera,
                partial(_plain, SURFACE_COLOURS[colour]), light)
        lay_over(frames, view.window, layer.colour, layer.cover)
    return frames.mul_(2).sub_(1)


def _product(solid, body, view: View, camera, light) -> Layer:
    palette = [PRODUCT_COLOURS[name] for name in solid.colours]
    return cast(body, view, camera, partial(_skin, solid, body, palette),
                light, solid.gloss)


def _skin(solid, body, palette, chart, pixel) -> Tensor:
    return paint(solid, body, chart, pixel, palette)


def _plain(colour, chart, pixel) -> Tensor:
    return torch.tensor(colour)[:, None].expand(3, len(pixel))


def _shares(clip: DepthClip, channels: int, alone: bool) -> Tensor:
    r"""Of the product's colours (or of all), alone or as others hide it."""
    camera = Camera.of(clip)
    shares = torch.zeros(channels, clip.frames, *clip.shape)
    palette = BASIS[:len(clip.product.colours)]
    for body, place, colour in _bodies(clip):
        if alone and colour is not None:
            continue
        view = look_at(place.of_frames(len(camera.zoom)), body, camera,
                       clip.shape)
        skin = partial(_skin, clip.product, body, palette) \
            if colour is None and channels > 1 else None
        layer = cast(body, view, camera, skin)
        value = layer.colour
        if not len(value):
            value = torch.full((channels, *layer.cover.shape),
                               float(colour is None))
        lay_over(shares, view.window, value, layer.cover)
    return shares


def _ground(
    room: Room, camera: Camera, shape: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    r"""[3, T or 1, H, W] in [0, 1]: floor and wall in their light, and the
    places x, z [T or 1, H, W] that the floor's pixels show."""
    pixel = 2 / shape[0]
    rows, columns = (coordinates(0, n, n, pixel) for n in shape)
    x, y = camera.plane(columns[None, None], rows[None, :, None])
    eye, (_, down, far) = camera.eye, camera.rays(x, y)
    # Above the horizon there is the wall alone.
    t = eye[1] / (-down).clamp_min(1e-2)
    z = eye[2] + t * far
    at, z = torch.broadcast_tensors(x * t, z)
    sx, _, sz = sun(room.light)
    lit = 1 + (sx * at + sz * z).clamp(-2, 2) * (0.16 * room.light.strength)
    u, v = turned(at, z, torch.tensor(room.angle))
    slant = t * ((-down).clamp_min(1e-2) / DISTANCE) ** -.5
    tone = SURFACES[room.surface](
        u / room.scale + room.x, v / room.scale + room.y,
        pixel / camera.zoom * slant / room.scale)
    foot = _foot(room, camera)
    wall = ((foot - y) * camera.zoom / pixel + .5).clamp(0, 1)
    behind = 0.9 + (y - foot).clamp(-1, 0) * .12
    side = 1 + sx * x.clamp(-2, 2) * (0.1 * room.light.strength)
    shade = torch.lerp(tone * lit, behind * side, wall)
    colour = as_column(SURFACE_COLOURS[room.colour]) * shade
    return colour.clamp_(0, 1), at, torch.where(wall < 1, z, -1e3)


def _foot(room: Room, camera: Camera) -> float:
    r"""Where the wall stands on the floor, in the picture plane."""
    still = Camera.still(room.elevation)
    return still.screen((0., torch.tensor(0.), torch.tensor(-room.wall))
                        )[1].item()


def _shadow(
    body: Body, place: Place, x: Tensor, z: Tensor, light: Light
) -> Tensor:
    r"""[T or 1, H, W] in [0, 1): what a body takes of the floor's light.

    It is that of an upright pole as wide as the body, softer with the
    distance, and darkest where it stands.
    """
    cx, cy, cz = place.centre
    lx, lz = toward(torch.tensor(light.angle))
    dx, dz = x - cx, z - cz
    top = (2 * cy).clamp(max=2.5)
    length = top / math.tan(HEIGHT)
    radius = body.radius * place.size
    along = (-(dx * lx + dz * lz) / length).clamp(0, 1)
    away = torch.hypot(dx + along * length * lx, dz + along * length * lz)
    blur = (BLUR + SOFTER * along) * radius.clamp(max=.5) * 2
    depth = (.5 - (away - radius * (1 - .25 * along)) / (2 * blur)).clamp_(0, 1)
    cast_ = depth.square() * (3 - 2 * depth) * (
        (1 - .5 * along) * SHADE * light.strength)
    near = (1 - (torch.hypot(dx, dz) - radius) / NEAR).clamp_(0, 1)
    return 1 - (1 - cast_) * (1 - CONTACT * near.square())
