r"""The world in depth against closed forms, and against itself."""
import hashlib
import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from wan.synth import Light, swap
from wan.synth.captions import words
from wan.synth.depth import (
    DepthClip,
    DepthMotion,
    Room,
    Solid,
    Stand,
    Thing,
    anchored,
    any_side,
    depth_map,
    depth_mask,
    hidden_mask,
    render_depth_background,
    render_depth_clip,
    render_solid,
    sample_depth_clip,
    view_set,
)
from wan.synth.depth.camera import AIM, DISTANCE
from wan.synth.depth.captions import (
    APPEARANCE,
    VOCABULARY,
    compose_depth,
    depth_caption,
    depth_caption_without_appearance,
    full_depth_caption,
)
from wan.synth.depth.scene import AROUND, LEANS, SOLIDS
from wan.synth.shapes import PATTERNS

CAN = Solid('can', 'striped', ('red', 'white'), slim=.7, gloss=0.)
DARK = Light(strength=0.)
STILL = DepthMotion()


def _clip(product=CAN, motion=STILL, things=(), size=64, frames=5,
          light=DARK, elevation=.35):
    room = Room('wooden', 'mint', light=light, things=things,
                elevation=elevation)
    return DepthClip(product, room, motion, size, frames)


def _alpha(photo):
    return np.asarray(photo).astype(np.float64)[..., 3] / 255


def test_same_seed_same_bytes():
    clip, threads = sample_depth_clip(3), torch.get_num_threads()
    assert clip == sample_depth_clip(3)
    digests = set()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            digests.add(hashlib.sha256(
                render_depth_clip(clip).numpy().tobytes()).hexdigest())
    finally:
        torch.set_num_threads(threads)
    assert len(digests) == 1
    assert len({sample_depth_clip(seed) for seed in range(50)}) == 50


def test_form_and_range():
    for seed in range(20):
        clip = sample_depth_clip(seed, 48, 5)
        for video in (render_depth_clip(clip), render_depth_background(clip)):
            assert video.shape == (3, 5, 48, 48)
            assert video.dtype == torch.float32
            assert video.isfinite().all() and video.abs().max() <= 1
        mask = depth_mask(clip)
        assert mask.min() >= 0 and mask.max() <= 1
        assert .02 < mask.mean() < .6
        assert torch.allclose(depth_map(clip).sum(0), mask, atol=1e-5)


def test_a_swap_changes_the_product_and_its_shadow_alone():
    things = (Thing('block', 'tan', -.7, -.6, .2),
              Thing('ball', 'navy', .2, .8, .2, dx=.5))
    motion = DepthMotion(turn=2., dx=.3, pan_x=.2)
    clip = _clip(motion=motion, things=things, light=Light(.3, 1.))
    other = swap(clip, Solid('ball', 'dotted', ('blue', 'yellow')))
    background = render_depth_background(clip)
    assert torch.equal(background, render_depth_background(other))
    videos = [render_depth_clip(c) for c in (clip, other)]
    masks = [depth_mask(c) for c in (clip, other)]
    outside = (masks[0] == 0) & (masks[1] == 0)
    for video, mask in zip(videos, masks, strict=True):
        assert (video <= background)[:, mask == 0].all()  # shadow
        equal = (video == background).all(0)
        assert equal[outside].float().mean() > .5
        assert not equal[mask > .5].any(0).all()


@pytest.mark.parametrize('z', [-.4, 0., .5])
def test_a_balls_outline_is_the_closed_form(z):
    r"""Seen from a distance d, a ball of radius r is a cone of half angle
    asin(r / d); straight ahead its picture is a disc."""
    ball, size = Solid('ball', 'solid', ('red',)), .42
    clip = _clip(ball, DepthMotion(Stand(z=z, size=size)), size=128, frames=1)
    up, sin, cos = size - AIM, math.sin(.35), math.cos(.35)
    away = (up, z)
    depth = DISTANCE - up * sin - z * cos
    aside = z * sin - up * cos
    distance = math.hypot(depth, aside)
    angle, tilt = math.asin(size / distance), math.atan2(aside, depth)
    ends = [DISTANCE * math.tan(tilt + sign * angle) for sign in (-1, 1)]
    mask = depth_mask(clip)[0]
    rows = (mask.amax(1) > .5).nonzero().flatten()
    found = [(rows[0].item() - 64) / 64, (rows[-1].item() + 1 - 64) / 64]
    assert found == pytest.approx(ends, abs=.02), away
    # An ellipse: its other axis is that of the cone, cut aslant.
    half = (ends[1] - ends[0]) / 2
    across = half * math.sqrt(
        math.cos(tilt) ** 2 - math.sin(angle) ** 2) / math.cos(angle)
    area = mask.mean().item() * 4
    assert area == pytest.approx(math.pi * half * across, rel=.01)


def test_nearer_is_larger_by_the_rule_of_perspective():
    widths = []
    for z in (-.5, .5):
        clip = _clip(motion=DepthMotion(Stand(z=z, size=.4)), size=128,
                     frames=1, elevation=.01)
        widths.append(depth_mask(clip)[0].sum(1).max().item())
    assert widths[1] / widths[0] == pytest.approx(
        (DISTANCE + .5) / (DISTANCE - .5), rel=.02)


@pytest.mark.parametrize('lean', [0, 2])
@pytest.mark.parametrize('shape', ['can', 'bottle'])
def test_after_its_period_a_skin_is_the_same(shape, lean):
    product = Solid(shape, 'striped', ('red', 'white'), lean=lean, slim=.5,
                    period=.5)
    radius = .5 / math.hypot(1, .5)
    longer = math.sqrt(2) if lean == 2 else 1
    count = 2 * round(2 * math.pi * radius / (2 * .5 * longer))
    views = [render_depth_clip(_clip(
        product, DepthMotion(Stand(yaw=yaw)), frames=1))
        for yaw in (0., 2 * math.pi / count, math.pi / count)]
    # A ray along an edge may go either way.
    differs = (views[0] - views[1]).abs().amax(0) > 2e-3
    assert differs.float().mean() < 1e-3
    assert (views[0] - views[2]).abs().mean() > .02


def test_phase_turns_the_skin_as_yaw_turns_a_round_body():
    marked = replace(CAN, mark='star')
    one = render_depth_clip(_clip(replace(marked, phase=.7), frames=1))
    two = render_depth_clip(_clip(
        marked, DepthMotion(Stand(yaw=.7)), frames=1))
    assert torch.allclose(one, two, atol=2e-3)
    box = replace(marked, shape='box')
    assert torch.equal(*[depth_mask(_clip(replace(box, phase=phase)))
                         for phase in (0., .7)])


def test_a_turn_to_the_right_moves_the_front_to_the_right():
    product = Solid('ball', 'solid', ('blue', 'yellow'), 'disc')
    places = []
    for yaw in (-.5, 0., .5):
        label = depth_map(_clip(
            product, DepthMotion(Stand(yaw=yaw)), frames=1))[1, 0]
        places.append((label.sum(0) @ torch.arange(64.) / label.sum()).item())
    assert places[0] < places[1] - 3 < places[2] - 6
    assert places[1] == pytest.approx(31.5, abs=.1)


def test_positive_roll_is_clockwise():
    product = Solid('bottle', 'solid', ('red',), slim=.35)
    mask = depth_mask(_clip(product, DepthMotion(Stand(roll=.4)), frames=1))[0]
    rows = (mask.sum(1) > 0).nonzero().flatten()
    x = torch.arange(64.)
    top, foot = ((mask[row] @ x / mask[row].sum()).item()
                 for row in (rows[2], rows[-4]))
    assert top > foot + 5


def test_what_stands_before_the_product_hides_it():
    product = Solid('box', 'solid', ('red',), slim=1.)
    before = Thing('ball', 'navy', 0., .8, .2)
    clip = _clip(product, things=(before,))
    whole, hidden = _clip(product), hidden_mask(clip)
    assert torch.allclose(
        depth_mask(clip) + hidden, depth_mask(whole), atol=1e-6)
    assert hidden.sum() > 50
    inside = hidden[0] > .999
    assert torch.equal(render_depth_clip(clip)[:, 0, inside],
                       render_depth_background(clip)[:, 0, inside])
    behind = replace(before, z=-.8)
    clip = _clip(product, things=(behind,))
    assert not hidden_mask(clip).any()
    assert torch.equal(depth_mask(clip), depth_mask(whole))


def test_a_passing_thing_hides_it_in_a_part_of_the_frames():
    passer = Thing('post', 'navy', 0., .8, .1, dx=3.)
    amounts = hidden_mask(_clip(things=(passer,))).sum((1, 2))
    assert amounts[0] == amounts[-1] == 0 < amounts[2]


def test_the_pose_of_a_frame():
    motion = DepthMotion(Stand(.1, 0., .2), dx=.4, turn=1., growth=.2)
    assert motion.stand(0, 5) == Stand(
        pytest.approx(-.1), 0., pytest.approx(-.3), 0.,
        pytest.approx(.55 * math.exp(-.1)))
    assert motion.stand(2, 5) == motion.middle == motion.stand(0, 1)


def test_photos_show_the_side_that_they_say():
    clip, rng = sample_depth_clip(5), Random(0)
    for frame in (0, 8, 16):
        yaw = clip.motion.stand(frame, clip.frames).yaw
        assert abs(anchored(clip, frame, rng).yaw - yaw) < .18
    assert max(any_side(rng).yaw for _ in range(50)) > 2
    front, right, back, left = view_set(4, rng)
    assert front.yaw == 0 and abs(back.yaw) == pytest.approx(math.pi)
    assert len(view_set(3, rng)) == 3
    with pytest.raises(ValueError, match='3 or 4 views, not 2'):
        view_set(2, rng)
    box = Solid('box', 'solid', ('red', 'white'), 'disc', slim=.6, deep=.5)
    widths = []
    for stand in (front, right, back, left):
        photo = render_solid(box, stand)
        assert photo.mode == 'RGBA' and photo.size == (128, 128)
        widths.append((_alpha(photo) > .5).any(0).sum())
    assert widths[0] == widths[2] > 1.5 * widths[1] == 1.5 * widths[3]
    # The label is on the front alone.
    pixels = [np.asarray(render_solid(box, stand))[..., 1].astype(float)
              * _alpha(render_solid(box, stand)) for stand in (front, back)]
    assert pixels[0].mean() > 2 * pixels[1].mean()


def test_a_photo_is_in_the_middle_and_its_ground_plain():
    photo = render_solid(CAN)
    alpha = _alpha(photo)
    y, x = (np.arange(128) @ alpha.sum(axis) / alpha.sum() for axis in (1, 0))
    assert abs(x - 63.5) < 1 and abs(y - 63.5) < 5
    ground = np.asarray(photo)[alpha == 0][:, :3]
    assert (ground == ground[0]).all()


@pytest.mark.parametrize('shape', SOLIDS)
@pytest.mark.parametrize('pattern', PATTERNS)
def test_every_solid_shows_its_colours(shape, pattern):
    colours = ('red', 'white') if pattern == 'solid' else (
        'red', 'white', 'blue')
    for lean in LEANS:
        product = Solid(shape, pattern, colours, 'star', lean=lean)
        shares = depth_map(_clip(product, frames=1)).sum((1, 2, 3))
        assert (shares[:len(colours)] > .02 * shares.sum()).all()


def test_captions_have_no_unknown_words():
    rng = Random(1)
    for seed in range(200):
        clip = sample_depth_clip(seed)
        for text in (full_depth_caption(clip), depth_caption(clip, rng)):
            assert set(words(text)) <= set(VOCABULARY)
        hidden = depth_caption_without_appearance(clip)
        assert clip.product.pattern not in words(hidden)
    assert set(APPEARANCE) < set(('mark', *APPEARANCE, 'shape'))
    assert len(VOCABULARY) == 89


def test_a_caption_tells_what_happens():
    product = Solid('can', 'striped', ('red', 'white'), 'star', lean=AROUND)
    things = (Thing('post', 'tan', 0, .8, .1, 1.),
              Thing('ball', 'grey', 0, -.8, .1))
    clip = _clip(product, DepthMotion(turn=1., dx=-.3), things,
                 light=Light(math.pi / 2))
    assert full_depth_caption(clip) == (
        'a striped red and white can with a star slides left and turns right '
        'on a mint wooden table, a tan post passes in front, beside a grey '
        'ball, lit from the front, the camera stands still.')
    with pytest.raises(ValueError, match='Unknown attributes props'):
        compose_depth(clip, ['props'])


@pytest.mark.parametrize('make, message', [
    (lambda: Solid('cone', 'solid', ('red',)), 'shape'),
    (lambda: Solid('can', 'solid', ('red', 'blue')), '1 different'),
    (lambda: Solid('can', 'solid', ('red',), 'star'), '2 different'),
    (lambda: Solid('can', 'striped', ('red',)), '2 or 3 different'),
    (lambda: Solid('can', 'solid', ('red',), slim=0.), 'slim is 0.0'),
    (lambda: Solid('can', 'solid', ('red',), lean=3), 'lean is 3'),
    (lambda: Thing('tree', 'tan', 0, 0, 1), 'thing'),
    (lambda: Room('plain', 'tan', elevation=2.), 'elevation is 2.0'),
    (lambda: _clip(size=8), '5 of 8'),
])
def test_bad_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()
