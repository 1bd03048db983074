r"""Renders against closed forms, against each other and against themselves."""
import hashlib
import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from wan.synth import (
    Article,
    Clip,
    Light,
    Motion,
    Pose,
    Prop,
    Scene,
    render_background,
    render_clip,
    render_photo,
    sample_clip,
    sample_pose,
    sample_product,
    swap,
    visible_mask,
)
from wan.synth.scene import PRODUCT_COLOURS, SURFACE_COLOURS
from wan.synth.shapes import PATTERNS, SHAPES
from wan.synth.surfaces import SURFACES

DARK = Light(strength=0)  # and so without shadows
ROUNDED = (4 - math.pi) * 0.08 ** 2
AREAS = {
    'disc': math.pi * 0.88 ** 2,
    'ring': math.pi * (0.93 ** 2 - 0.39 ** 2),
    'triangle': 3 * math.sqrt(3) * 0.52 ** 2,
    'star': 5 * 1.04 * 0.52 * math.sin(math.pi / 5),
    'cross': 8 * 0.9 * 0.35 - 4 * 0.35 ** 2 - 2 * ROUNDED,
    'heart': 4 * 0.52 ** 2 + math.pi * 0.52 ** 2,
    'capsule': math.pi * 0.5 ** 2 + 1,
    'bottle': (4 * 0.52 * 0.64 - 4 * ROUNDED + 0.38 * 0.39
               + 4 * 0.28 * 0.13 - ROUNDED),
}


def _product(shape='star', pattern='striped'):
    colours = ('red', 'white', 'blue')[:1 if pattern == 'solid' else 3]
    return Article(shape, pattern, colours)


def _digest(pixels):
    return hashlib.sha256(pixels.numpy().tobytes()).hexdigest()


def _clip(product=None, motion=None, surface='plain', light=DARK, props=(),
          size=64, frames=5):
    scene = Scene(surface, 'mint', 0.3, light=light, props=props)
    return Clip(product or _product(), scene, motion or Motion(), size, frames)


def _nearest(pixels, palette):
    table = torch.tensor(list(palette.values()))
    names = list(palette)
    return [names[i] for i in torch.cdist(pixels, table).argmin(1).tolist()]


def test_same_seed_same_bytes():
    clip = sample_clip(3)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        several = _digest(render_clip(clip))
    finally:
        torch.set_num_threads(threads)
    assert several == _digest(render_clip(sample_clip(3)))
    digests = {_digest(render_clip(sample_clip(seed, 32, 3)))
               for seed in range(20)}
    assert len(digests) == 20


def test_form_and_range():
    for seed in range(40):
        clip = sample_clip(seed, 48, 5)
        for video in (render_clip(clip), render_background(clip)):
            assert video.shape == (3, 5, 48, 48)
            assert video.dtype == torch.float32
            assert video.isfinite().all() and video.abs().max() <= 1
        mask = visible_mask(clip)
        assert mask.shape == (5, 48, 48)
        assert mask.min() >= 0 and mask.max() <= 1
        assert 0.01 < mask.mean() < 0.5


def test_background_is_bit_identical_in_a_swap():
    props = (Prop('ball', 'tan', -0.7, 0.7, 0.2),
             Prop('post', 'navy', 0.2, 0.4, 1.0, front=True))
    motion = Motion(Pose(size=0.4), dx=0.4, turn=1, pan_x=0.2, zoom=0.1)
    clip = _clip(motion=motion, surface='wooden', props=props)
    other = swap(clip, _product('ring', 'dotted'))
    background = render_background(clip)
    assert torch.equal(background, render_background(other))
    outside = (visible_mask(clip) == 0) & (visible_mask(other) == 0)
    assert 0.3 < outside.float().mean() < 0.95
    for video in (render_clip(clip), render_clip(other)):
        assert torch.equal(video[:, outside], background[:, outside])


def test_shadow_only_darkens_and_stays_near():
    motion = Motion(Pose(size=0.3), dx=0.3)
    clip = _clip(motion=motion, light=Light(0.0, 1.0))  # from the right
    video, background = render_clip(clip), render_background(clip)
    outside = visible_mask(clip) == 0
    assert (video <= background)[:, outside].all()
    darker = ((video < background).all(0) & outside)[0]  # product at x -0.15
    assert darker[:, :28].sum() > 2 * darker[:, 28:].sum() > 0
    assert not darker[:, 45:].any()


def test_mask_is_where_the_clip_differs_from_its_background():
    prop = Prop('ball', 'navy', 0.2, 0.2, 0.3, front=True)
    for seed in range(12):
        product = sample_product(Random(seed))
        clip = _clip(product, Motion(Pose(size=0.5), dx=0.3), props=(prop,))
        mask = visible_mask(clip)
        differs = (render_clip(clip) != render_background(clip)).any(0)
        assert not (differs & (mask == 0)).any()
        assert differs[mask > 0.5].float().mean() > 0.97


def test_props_occlude_the_mask():
    prop = Prop('ball', 'navy', 0, 0, 0.3, front=True)
    product = _product('disc')
    hidden = visible_mask(_clip(product, props=(prop,)))
    whole = visible_mask(_clip(product))
    assert hidden[:, 32, 32].max() == 0 and whole[:, 32, 32].min() == 1
    lost = (whole - hidden).mean() * 4  # the frame is 2 x 2
    assert lost.item() == pytest.approx(math.pi * 0.264 ** 2, rel=0.01)
    behind = Prop('ball', 'navy', 0, 0, 0.3)
    assert torch.equal(visible_mask(_clip(product, props=(behind,))), whole)


@pytest.mark.parametrize('shape', SHAPES)
def test_area_is_the_closed_form(shape):
    motion = Motion(Pose(angle=0.4, size=0.8))
    clip = _clip(_product(shape), motion, size=128, frames=1)
    area = visible_mask(clip).mean().item() * 4 / 0.8 ** 2
    assert area == pytest.approx(AREAS[shape], rel=0.01)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('pattern', PATTERNS)
def test_every_product_shows_its_colours(shape, pattern):
    share, product = dict.fromkeys(PRODUCT_COLOURS, 0), _product(shape, pattern)
    for angle in (0.2, 0.9, 1.9, -1.0):
        clip = _clip(replace(product, angle=angle), Motion(Pose(size=0.9)),
                     size=96, frames=1)
        pixels = render_clip(clip)[:, visible_mask(clip) == 1]
        nearest = _nearest(pixels.add(1).div(2).T, PRODUCT_COLOURS)
        for name in nearest:
            share[name] += 1 / len(nearest) / 4
    assert all(share[name] > 0.025 for name in product.colours)
    if pattern != 'gradient':  # whose mixtures may look like other colours
        assert sum(share[name] for name in product.colours) > 0.9
        assert share['red'] > 0.3


@pytest.mark.parametrize('colour', PRODUCT_COLOURS)
def test_colours_are_told_apart_in_any_light(colour):
    for seed in range(5):
        clip = swap(sample_clip(seed, 64, 1),
                    Article('disc', 'solid', (colour,)))
        pixels = render_clip(clip)[:, visible_mask(clip) == 1].add(1).div(2)
        assert _nearest(pixels.mean(1)[None], PRODUCT_COLOURS) == [colour]


@pytest.mark.parametrize('surface', SURFACES)
def test_surfaces_keep_their_colour(surface):
    for colour, value in SURFACE_COLOURS.items():
        clip = Clip(_product(), Scene(surface, colour), Motion(), 64, 1)
        mean = render_background(clip).add(1).div(2).mean((1, 2, 3))
        assert torch.allclose(mean, torch.tensor(value), atol=0.09)
        assert _nearest(mean[None], SURFACE_COLOURS) == [colour]


def test_product_moves_as_told():
    motion = Motion(Pose(0.1, -0.1, size=0.25), dx=0.6, dy=-0.2, growth=0.3,
                    pan_x=0.2, pan_y=-0.1, zoom=0.2)
    clip = _clip(_product('disc'), motion, size=96)
    mask = visible_mask(clip)
    grid = (torch.arange(96) + 0.5) / 48 - 1
    total = mask.sum((1, 2))
    x = (mask * grid).sum((1, 2)) / total
    y = (mask * grid[:, None]).sum((1, 2)) / total
    for t, part in enumerate((-0.5, -0.25, 0, 0.25, 0.5)):
        zoom = math.exp(0.2 * part)
        assert x[t].item() == pytest.approx((0.1 + 0.4 * part) * zoom, abs=2e-3)
        assert y[t].item() == pytest.approx(
            (-0.1 - 0.1 * part) * zoom, abs=2e-3)
        radius = 0.88 * 0.25 * math.exp(0.3 * part) * zoom
        assert total[t].item() / 48 ** 2 == pytest.approx(
            math.pi * radius ** 2, rel=0.01)


def test_positive_turn_is_clockwise():
    motion = Motion(turn=math.pi / 2)
    mask = visible_mask(_clip(_product('bottle'), motion, frames=3))
    quarter = torch.rot90(mask[0], -1, (0, 1))
    assert torch.allclose(mask[2], quarter, atol=1e-3)


def test_camera_pans_over_the_scene():
    motion = Motion(pan_x=0.25)  # 8 of 64 pixels
    props = (Prop('block', 'navy', 0.3, 0.3, 0.3),)
    video = render_background(
        _clip(motion=motion, surface='tiled', light=Light(), props=props))
    assert torch.allclose(video[:, -1, :, :-8], video[:, 0, :, 8:], atol=1e-3)
    still = render_background(_clip(surface='tiled', props=props))
    assert torch.equal(still[:, 0], still[:, -1])


def test_photo():
    product, size = _product('disc', 'solid'), 100
    photo = render_photo(product, Pose(0.1, 0.0, 1.0, 0.7), size, DARK)
    assert photo.mode == 'RGBA' and photo.size == (100, 100)
    pixels = np.asarray(photo).astype(np.float64) / 255
    area = pixels[..., 3].mean() * 4
    assert area == pytest.approx(math.pi * (0.88 * 0.7) ** 2, rel=0.01)
    assert np.abs(pixels[2, 2] - (0.86, 0.86, 0.86, 0)).max() < 3e-3
    middle = np.array(PRODUCT_COLOURS['red']) * 0.97
    assert np.abs(pixels[50, 55, :3] - middle).max() < 3e-3
    assert pixels[50, 55, 3] == 1


def test_photo_is_another_view_than_the_clip():
    rng = Random(0)
    poses = [sample_pose(rng) for _ in range(50)]
    assert len(set(poses)) == 50
    assert all(0.65 <= pose.size <= 0.8 for pose in poses)
    largest = max(sample_clip(seed).motion.middle.size for seed in range(500))
    assert largest < 0.65
