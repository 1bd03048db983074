r"""Patches: where they lie, what they leave alone, which colour arrives."""
import numpy as np
import pytest
import torch

from tests.clips import planes, raw, told
from tests.footage.media import GREY, RED, patch, same, template
from tests.utils.media import ffmpeg
from wan.footage import Footage, Patch, write_footage
from wan.footage.patch import Painter, _columns
from wan.footage.pixels import Pixels
from wan.footage.source import Ground, ground_planes
from wan.utils.video import read_video

SUBS = {'yuv420p': (1, 1), 'yuv422p': (1, 0), 'yuv444p': (0, 0)}


def painted(path, given):
    r"""Planes before and after, and the box."""
    footage = Footage.open(path)
    ground = Ground.of(footage)
    before = next(ground_planes(footage, ground, [0]))
    after, box = Painter(footage, ground).paint(before, given)
    return before, after, box, ground


@pytest.mark.parametrize('pixels', SUBS)
@pytest.mark.parametrize('deep', [False, True])
def test_outside_is_the_template_bit_for_bit(tmp_path, pixels, deep):
    path = template(tmp_path / 'a.mkv', frames=1,
                    pixels=pixels + ('10le' if deep else ''))
    given = patch(left=15, top=7, width=21, height=13)
    before, after, box, ground = painted(path, given)
    assert ground.native and ground.pixels.depth == (10 if deep else 8)
    stored = planes(raw(path), 96, 64, *SUBS[pixels], deep)
    for plane, want in zip(before, stored, strict=True):
        assert (plane == want[0]).all()
    outside = np.ones((64, 96), bool)
    outside[7:20, 15:36] = False
    seen = np.ones((64, 96), bool)
    seen[box.top:box.top + box.mask.shape[0],
         box.left:box.left + box.mask.shape[1]] = ~box.mask
    assert (seen == outside).all()
    sx, sy = SUBS[pixels]
    for i, (a, b) in enumerate(zip(before, after, strict=True)):
        if i:  # every pixel whose chroma changes is inside
            a, b = (np.repeat(np.repeat(p, 1 << sy, 0), 1 << sx, 1)
                    for p in (a, b))
        assert (a[outside] == b[outside]).all()
        assert (a != b)[8:20, 16:36].mean() > 0.9


def test_weights_between(tmp_path):
    path = template(tmp_path / 'a.mkv', frames=1, pixels='yuv444p')
    (old, *_), (new, *_), *_ = painted(path, patch(colour=GREY, weight=0.25))
    grey = 16 + 219 / 2
    want = (old + 0.25 * (grey - old))[8:24, 16:40]
    assert np.abs(new[8:24, 16:40] - want).max() <= 0.5


def test_no_weight_changes_nothing(tmp_path):
    path = template(tmp_path / 'a.mkv', frames=1)
    before, after, box, _ = painted(path, patch(weight=0.))
    assert not box.mask.any()
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize('options', [
    (), ('-display_hflip',), ('-display_vflip',)])
@pytest.mark.parametrize('angle', [0, 90, 180, 270])
@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_it_lies_where_it_is_seen(tmp_path, angle, options, suffix):
    template(tmp_path / 'a.mp4', frames=2)
    path, result = tmp_path / 'b.mp4', tmp_path / f'c.{suffix}'
    ffmpeg('-display_rotation', angle, *options, '-i', tmp_path / 'a.mp4',
           '-c', 'copy', path)
    footage = Footage.open(path)
    changed = write_footage(
        result, footage, same(footage, left=8, top=20, width=12, height=10),
        codec='lossless')
    if not (suffix == 'mkv' and options):  # which mkv has no way to tell
        assert not changed.notes
        assert told(result)['display'] == told(path)['display']
        video, before = read_video(result), read_video(path)
        off = (video - before).abs().amax((0, 1))
        assert (off[20:30, 8:20] > 0.02).float().mean() > 0.95
        off[12:38, :28] = 0  # but for chroma, which is shown smoothly
        assert off.max() == 0
        red = torch.tensor(RED)[:, None]
        assert (video[:, 0, 24:27, 12:17].flatten(1) - red).abs().max() < 0.2
    else:
        assert len(changed.notes) <= 1


@pytest.mark.parametrize('aspect', ['4/3', '3/4', '2'])
@pytest.mark.parametrize('angle', [0, 90])
def test_pixels_that_are_not_square(tmp_path, aspect, angle):
    template(tmp_path / 'a.mp4', '-vf', f'setsar={aspect}', frames=2)
    path, result = tmp_path / 'b.mp4', tmp_path / 'c.mp4'
    ffmpeg('-display_rotation', angle, '-i', tmp_path / 'a.mp4', '-c', 'copy',
           path)
    footage = Footage.open(path)
    changed = write_footage(
        result, footage, same(footage, left=10, top=14, width=30, height=26),
        codec='lossless')
    assert told(result) == told(path) and not changed.notes
    assert changed.share == pytest.approx(
        30 * 26 / footage.size[0] / footage.size[1], rel=0.25)
    video, before = read_video(result), read_video(path)
    red = torch.tensor(RED)[:, None]
    assert (video[:, 0, 19:35, 15:35].flatten(1) - red).abs().max() < 0.05
    off = (video - before).abs().amax((0, 1))
    off[:60, :60] = 0
    assert off.max() == 0


def test_columns_keep_their_place():
    r"""A ramp stays one, and what is beside the patch weighs nothing."""
    shown, stored = 128, 96
    ramp = np.tile(((np.arange(128) + 0.5) / 128)[None, 32:64, None],
                   (2, 1, 3))
    colour, weight, first = _columns(
        ramp, np.ones((2, 32)), 32, shown, stored)
    at = (np.arange(first, first + weight.shape[1]) + 0.5) / 96
    inside = (weight[0] > 0.999)
    assert np.abs(colour[0, inside, 0] - at[inside]).max() < 1e-3
    assert weight.sum() / 2 == pytest.approx(24, abs=0.1)
    assert at[weight[0] > 0].min() > 0.24 and at[weight[0] > 0].max() < 0.51


@pytest.mark.parametrize('tags', [
    ('tv', 'bt709', 'bt709', 'bt709'),
    ('pc', 'smpte170m', 'smpte170m', 'smpte170m'),
    ('tv', 'bt2020nc', 'bt2020', 'bt2020-10'),
    ('tv', 'bt2020nc', 'bt2020', 'smpte2084'),
    ('tv', 'bt2020nc', 'bt2020', 'arib-std-b67'), ()])
@pytest.mark.parametrize('codec', ['lossless', 'x265', 'prores'])
def test_the_colour_arrives_and_the_tags_stay(tmp_path, tags, codec):
    names = ('range', 'colorspace', 'color_primaries', 'color_trc')
    filters = 'scale=out_range=pc,' if 'pc' in tags else ''
    if tags:
        filters += 'format=yuv420p10le,setparams=' + ':'.join(
            f'{a}={b}' for a, b in zip(names, tags, strict=True))
    path = template(tmp_path / 'a.mov', '-vf', filters or 'null', frames=2,
                    pixels='yuv420p10le')
    assert told(path)['transfer'] == {
        'bt709': 1, 'smpte170m': 6, 'bt2020-10': 14, 'smpte2084': 16,
        'arib-std-b67': 18}.get(tags[3] if tags else '', 2)
    result, colour = tmp_path / 'b.mov', (0.4, -0.2, -0.5)
    footage = Footage.open(path)
    changed = write_footage(
        result, footage, same(footage, colour=colour), codec=codec)
    shown = read_video(result)[:, 0, 12:20, 20:36].flatten(1)
    assert (shown - torch.tensor(colour)[:, None]).abs().max() < (
        0.1 if codec != 'lossless' else 0.05 if footage.hdr else 0.02)
    names = ('matrix', 'primaries', 'transfer', 'size', 'aspect')
    assert all(told(result)[n] == told(path)[n] for n in names)
    if codec != 'prores':  # which has one range
        assert told(result)['range'] in {
            told(path)['range'], told(path)['range'] or 1}
        assert told(result)['pixels'] == 'yuv420p10le'
    assert any('stays' in n for n in changed.notes) == bool(footage.hdr)


def test_odd_box_at_the_borders(tmp_path):
    path = template(tmp_path / 'a.mkv', '-vf', 'crop=37:23:exact=1',
                    frames=1, pixels='yuv420p', codec=('ffv1',))
    whole = Patch(torch.zeros(3, 23, 37), torch.ones(23, 37), 0, 0)
    _, after, box, ground = painted(path, whole)
    assert ground.pixels == Pixels(37, 23, 1, 1)
    assert box.mask.all() and box.mask.shape == (23, 37)
    assert all(np.ptp(plane) == 0 for plane in after)


@pytest.mark.parametrize('given,words', [
    (patch(left=80), 'does not lie within a picture of 96x64'),
    (patch(top=-1), 'at 16,-1 does not lie'),
    (patch(width=0), 'does not lie'),
    (patch()._replace(rgb=torch.zeros(3, 4, 4)), 'does not lie'),
    (patch(weight=float('nan')), 'values that are no numbers')])
def test_patches_that_do_not_fit(tmp_path, given, words):
    path = template(tmp_path / 'a.mkv', frames=1)
    with pytest.raises(ValueError, match=words):
        painted(path, given)
