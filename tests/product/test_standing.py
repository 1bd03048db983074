r"""How products stand and turn, told from their pixels."""
import math
from dataclasses import replace

import pytest
import torch

from wan.edit_config import COLLAGES
from wan.product.collage import PASTES, collage
from wan.product.leaning import leaning, turns
from wan.product.photo import Product
from wan.product.places import Places
from wan.product.standing import DOWN, foot, standing
from wan.product.turning import extents, turned_views
from wan.synth import (
    Article,
    Motion,
    Pose,
    render_clip,
    sample_clip,
    swap,
    visible_mask,
)
from wan.synth.depth import (
    DepthClip,
    DepthMotion,
    Room,
    Solid,
    Stand,
    depth_mask,
    render_depth_clip,
    render_solid,
)

CAN = Solid('can', 'dotted', ('red', 'white'), 'star', gloss=0.)
ROOM = Room('plain', 'mint')


def _clip(product=CAN, frames=9, **motion):
    return DepthClip(product, ROOM, DepthMotion(Stand(), **motion), 96, frames)


def _standing(video, mask):
    mask = (mask > .5).float()
    places = Places.of(mask)
    return standing(
        video, mask, places, places.size.nonzero().flatten().tolist())


@pytest.mark.parametrize('shape', ['can', 'bottle', 'ball'])
@pytest.mark.parametrize('turn', [-1.2, 0., .8])
def test_the_rate_of_a_turn_in_depth(shape, turn):
    slim = .42 if shape == 'bottle' else .8
    clip = _clip(replace(CAN, shape=shape, slim=slim), turn=turn)
    leans, rate = _standing(render_depth_clip(clip), depth_mask(clip))
    assert rate == pytest.approx(turn / 8, abs=.2 * abs(turn) / 8 + .005)
    assert not leans.any()


def test_a_turn_in_the_picture_is_a_lean():
    clip = _clip(roll=1.)
    leans, rate = _standing(render_depth_clip(clip), depth_mask(clip))
    assert abs(rate) < .05  # of .125 radians a frame in the picture
    assert leans[0].item() == pytest.approx(-.5, abs=.15)
    assert leans[-1].item() == pytest.approx(.5, abs=.15)


def test_a_mirror_axis_tells_the_lean():
    clip = replace(sample_clip(0), frames=3, motion=Motion(Pose(angle=.35)),
                   product=Article('bottle', 'striped', ('red', 'white')))
    clip = replace(clip, scene=replace(clip.scene, props=()))
    mask = (visible_mask(clip) > .5).float()
    places = Places.of(mask)
    video = render_clip(clip)
    turned = turns(video, mask, places, [0, 1, 2])
    assert leaning(mask, places, [0, 1, 2], turned).item() == pytest.approx(
        .35, abs=.06)


def test_what_turns_in_the_picture_alone_has_no_rate():
    base = sample_clip(0)
    clip = replace(base, frames=9, motion=Motion(Pose(), turn=.9),
                   scene=replace(base.scene, props=()),
                   product=Article('disc', 'checked', ('red', 'white')))
    _, rate = _standing(render_clip(clip), visible_mask(clip))
    assert rate == 0


def test_extents_of_rows():
    mask = torch.zeros(3, 8)
    mask[1, 2:6] = 1
    middle, half, known = extents(mask)
    assert known.tolist() == [False, True, False]
    assert middle[1] == 4 and half[1] == 2


def test_a_wrapped_photo_turns_by_sines():
    r"""A mark in the middle goes to the sine of the angle, the outline stays.
    """
    alpha = torch.zeros(1, 40, 80)
    alpha[:, 5:35, 20:60] = 1
    colours = torch.zeros(3, 40, 80)
    colours[:, :, 39:41] = 1
    still, turned = (turned_views(
        torch.cat([colours * alpha, alpha])[None], torch.tensor([yaw]))
        for yaw in (0., .6))
    x = torch.arange(80) + .5
    places = [(layer[0, 20] @ x / layer[0, 20].sum()).item()
              for layer in (still, turned)]
    assert places[0] == pytest.approx(40, abs=.1)
    assert places[1] == pytest.approx(40 + 20 * math.sin(.6), abs=.6)
    assert torch.equal(turned[3:], alpha)


def test_the_foot():
    mask = torch.zeros(20, 20)
    mask[4:15, 8:12] = 1
    assert foot(mask, torch.tensor([10., 9.]), DOWN) == 5.5


def _pasted(clip, product, kind, yaw=0., **more):
    photo = Product(render_solid(product, Stand(size=.72, yaw=yaw), .35, 96))
    return collage(render_depth_clip(clip), depth_mask(clip),
                   *photo.fitted((96, 96)), kind, **more)


def test_a_turning_paste_is_nearer_to_the_truth():
    clip = _clip(turn=1.4)
    product = replace(CAN, pattern='checked', colours=('blue', 'yellow'))
    truth, inside = render_depth_clip(swap(clip, product)), depth_mask(clip)
    errors = {
        kind: ((_pasted(clip, product, kind).video - truth).abs()
               * inside).sum().item() for kind in PASTES}
    assert errors['turning'] < .85 * errors['upright']
    assert errors['auto'] == errors['turning']
    # The photo shows the side of the anchor.
    first = _pasted(clip, product, 'turning', -.7, anchor=0)
    error = ((first.video - truth).abs() * inside).sum().item()
    assert error < errors['upright']


def test_auto_turns_what_is_seen_to_turn_and_is_flat_elsewhere():
    for clip, kind in ((_clip(dx=.2), 'flat'), (_clip(turn=1.), 'turning')):
        assert torch.equal(_pasted(clip, CAN, 'auto').video,
                           _pasted(clip, CAN, kind).video)


def test_without_a_turn_in_depth_nothing_is_turned():
    clip = _clip(dx=.2)
    flat = _pasted(clip, CAN, 'flat')
    for kind in ('upright', 'turning'):
        assert torch.equal(_pasted(clip, CAN, kind).alpha, flat.alpha)


def test_a_box_stands_upright_in_place_of_a_can():
    wide = Solid('box', 'solid', ('blue',), slim=1.6)
    tall = _clip(replace(CAN, slim=.5), turn=1.)
    alpha = _pasted(tall, wide, 'upright').alpha[4] > .5
    mask = depth_mask(tall)[4] > .5
    rows, columns = alpha.any(1).sum(), alpha.any(0).sum()
    assert columns > 1.1 * rows
    lowest = [shown.any(1).nonzero().max().item() for shown in (alpha, mask)]
    assert abs(lowest[0] - lowest[1]) <= 2


def test_kinds():
    assert (*PASTES, 'off') == COLLAGES
    with pytest.raises(ValueError, match="Unknown collage 'off'; allowed"):
        _pasted(_clip(), CAN, 'off')
