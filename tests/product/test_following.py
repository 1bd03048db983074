r"""A hint decides what the pictures leave open, in all frames."""
from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F

from wan.product.finding import Finding
from wan.product.following import find_in_windows, follow, hinted
from wan.product.hint import Hint
from wan.product.mixture import segment
from wan.synth.render import render_clip, visible_mask
from wan.synth.sampling import TUNE_SEEDS, sample_clip
from wan.synth.scene import Article, Motion, Pose

SIZE, FRAMES = 128, 9


def overlap(a, b):
    return float((a * b).sum() / torch.maximum(a, b).sum())


@cache
def two_products(seed, same):
    r"""A clip of two products of one kind that move, a map that shows both,
    and their masks."""
    clip = sample_clip(TUNE_SEEDS[seed], SIZE, FRAMES)
    clip = replace(clip, scene=replace(clip.scene, props=()))
    other = clip.product if same else Article(
        clip.product.shape, 'striped', ('turquoise', 'pink'))
    clips = [
        replace(clip, product=product, motion=Motion(
            Pose(x, y, angle, .32), dx=.2, dy=-y, turn=.4))
        for product, x, y, angle in (
            (clip.product, -.45, -.2, .3), (other, .45, .25, -.2))]
    masks = [(visible_mask(c) > .5).float() for c in clips]
    video = torch.lerp(*map(render_clip, clips), visible_mask(clips[1]))
    rough = F.avg_pool2d(torch.maximum(*masks), 16)
    odds = 4 * (F.interpolate(rough[:, None], scale_factor=2)[:, 0] - .3)
    return video, odds, masks


def hints(mask, frame):
    r"""A box around the mask, and a point in its middle."""
    rows, columns = mask[frame].nonzero().T.float()
    middle = torch.hypot(
        rows - rows.mean(), columns - columns.mean()).argmin()
    return (Hint.around(mask, frame),
            Hint(float(columns[middle]), float(rows[middle]), frame=frame))


@pytest.mark.parametrize('same', [False, True])
@pytest.mark.parametrize('which', [0, 1])
@pytest.mark.parametrize('frame', [0, 5])
def test_a_hint_picks_one_of_two(same, which, frame):
    video, odds, masks = two_products(2, same)
    wanted = masks[which]
    without = overlap(segment(video, odds), wanted)
    assert without < .6
    for hint in hints(wanted, frame):
        assert overlap(segment(video, odds, hint), wanted) > .85


def test_a_box_tells_where_the_map_shows_nothing():
    video, odds, masks = two_products(0, False)
    box, _ = hints(masks[1], 0)
    assert overlap(segment(video, 0 * odds, box), masks[1]) > .8


def test_a_prop_that_draws_the_map_is_left():
    r"""The map shows the other thing only; a box is stronger."""
    video, _, masks = two_products(2, False)
    rough = F.avg_pool2d(masks[0], 8)
    box, _ = hints(masks[1], 3)
    assert overlap(segment(video, 4 * (rough - .3)), masks[1]) < .2
    assert overlap(segment(video, 4 * (rough - .3), box), masks[1]) > .8


def squares(*columns, size=24):
    r"""[F, size, 2 size], a square of 4 cells at each of a frame's columns."""
    mask = torch.zeros(len(columns), size, 2 * size)
    for frame, at in enumerate(columns):
        for column in at:
            mask[frame, 8:12, column:column + 4] = 1
    return mask


def test_follow_keeps_one_thing():
    mask = squares((0, 20), (3, 20), (6, 20), (), (9, 20), (12, 20))
    want = squares((0,), (3,), (6,), (), (9,), (12,))
    for frame in (0, 2, 5):
        seed = want[frame] * (torch.rand(24, 48) > .5)
        assert torch.equal(follow(mask, seed, frame), want)


def test_nothing_at_the_seed_is_nothing():
    mask, seed = squares((0,), (0,)), squares((30,))[0]
    assert not follow(mask, seed, 0).any()


def test_hinted_is_certain_in_its_frame_only():
    odds = torch.ones(3, 10, 20)
    odds[:, :, 10:] = -1
    told, certain = hinted(odds, Hint(20, 20, 40, 40, 1), (100, 200))
    assert not certain[[0, 2]].any()
    assert certain[1, 4, 4] > 0 > certain[1, 8, 15]
    assert certain[1, 2, 2] == 0  # in the box, not surely product
    assert told[0, 0, 0] == 1 and told[0, 0, 15] < 0


def test_windows_hand_on_what_they_found():
    r"""Three windows of 9 frames that share 5; the hint is in the middle."""
    mask = squares(*((frame,) for frame in range(17)))
    windows = [slice(0, 3), slice(1, 4), slice(2, 5)]
    asked = []

    def find(window, hint):
        first = 4 * window.start
        asked.append((window.start, hint.frame + first, hint.x))
        return mask[first:first + 9]

    whole = find_in_windows(windows, Hint(7, 8, 4, 4, 7), find)
    assert torch.equal(whole, mask)
    assert asked[0] == (0, 7, 7)
    for start, frame, x in asked[1:]:
        assert 4 * start <= frame < 4 * start + 5 and x == frame
    asked.clear()
    find_in_windows(windows, Hint(16, 8, frame=16), find)
    assert [start for start, *_ in asked] == [2, 1, 0]


def test_windows_without_a_hint_look_by_themselves():
    found = []
    assert find_in_windows(
        [slice(0, 3), slice(1, 4)], None,
        lambda window, hint: found.append(hint)) is None
    assert found == [None, None]


class Asked:
    r"""A segmenter that keeps what it is asked."""

    def __init__(self, needs_place):
        self.needs_place, self.asked = needs_place, []

    def mask(self, video, words, hint):
        self.asked.append((words, hint))
        return torch.ones(video.shape[1:])


@pytest.mark.parametrize('needs_place, hint, asks, prompt', [
    (True, None, True, Hint(4, 8, 4, 4, 0)),
    (True, Hint(1, 2), False, Hint(1, 2)),
    (False, None, False, None),
    (False, Hint(1, 2), False, Hint(1, 2)),
])
def test_a_segmenter_is_given_a_hint(needs_place, hint, asks, prompt):
    segmenter = Asked(needs_place)
    finding = Finding(hint=hint, segmenter=segmenter, words='watch')
    assert finding.asks_model == asks
    found = squares((4,)) if asks else None
    assert finding.mask(torch.zeros(3, 1, 24, 48), found).all()
    assert segmenter.asked == [('watch', prompt)]


def test_a_segmenter_that_follows_needs_something_to_follow():
    segmenter = Asked(True)
    finding = Finding(segmenter=segmenter)
    for found in (None, torch.zeros(1, 24, 48)):
        assert finding.mask(torch.zeros(3, 1, 24, 48), found) is None
    assert not segmenter.asked


def test_without_a_segmenter_the_model_decides():
    found = squares((4,))
    assert Finding().asks_model
    assert Finding().mask(torch.zeros(3, 1, 24, 48), found) is found
