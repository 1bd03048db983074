r"""Which frames VACE reads, in which shape: recorded, and from files."""
import numpy as np
import pytest
import torch
from PIL import Image

from tests import goldens
from tests.utils.media import make_clip, ramp
from wan.utils.image import as_clip, read_image
from wan.utils.vace_frames import frame_count
from wan.utils.vace_processor import (
    VaceImageProcessor,
    VaceVideoProcessor,
    prepare_source,
)
from wan.utils.video import read_video


def processor(area=48 * 64, seq_len=12 * 21, keep_last=True, max_fps=16,
              downsample=(4, 16, 16), zero_start=True):
    return VaceVideoProcessor(
        downsample, area, area, max_fps, max_fps, zero_start, seq_len,
        keep_last)


# Recorded numbers


@pytest.mark.parametrize(
    'row', goldens.table('goldens/frame_ids')['rows'],
    ids=lambda row: '{frames}-{fps}-{w}x{h}'.format(**row['in']))
def test_recorded_choices(row):
    given, want = dict(row['in']), row['out']
    video = [given.pop(k) for k in ('frames', 'fps', 'h', 'w')]
    box = given.pop('crop_box', None)
    chosen = processor(**given).choose(*video, box)
    assert list(chosen.frame_ids) == want['frame_ids']
    assert list(chosen.box) == want['box']
    assert (chosen.oh, chosen.ow) == (want['oh'], want['ow'])
    assert chosen.fps == pytest.approx(want['target_fps'], 1e-6)


@pytest.mark.parametrize('case', goldens.case_ids('video_resize_crop'))
def test_recorded_frames(case):
    params, inputs, want = goldens.case(case)
    got = VaceVideoProcessor.resize_crop(
        inputs['video'], params['oh'], params['ow'])
    assert torch.equal(got, want['out'])


@pytest.mark.parametrize('case', goldens.case_ids('image_resize_crop'))
def test_recorded_pictures(case):
    params, inputs, want = goldens.case(case)
    image = Image.fromarray(inputs['image'].numpy())
    got = VaceImageProcessor._resize_crop(image, params['oh'], params['ow'])
    assert torch.equal(got, want['out'])


@pytest.mark.parametrize('row', goldens.table('goldens/image_batch')['rows'])
def test_recorded_sizes_of_pictures(row, tmp_path):
    given, want = row['in'], row['out']
    size = given['w'], given['h']
    Image.new('RGB', size, 'red').save(tmp_path / 'a.png')
    Image.new('RGB', (40, 30), 'blue').save(tmp_path / 'b.png')
    one, other, size = VaceImageProcessor(
        (4, 16, 16), given['seq_len']).load_image_pair(
            tmp_path / 'a.png', tmp_path / 'b.png')
    assert size == (want['oh'], want['ow'])
    assert one.shape == other.shape == (3, 1, *size)
    assert one[0].min() > .99 and other[2].min() > .99


def test_recorded_sources():
    params, inputs, want = goldens.case('vace_letterbox')
    given = [None], [None], [goldens.listed(inputs, 'ref')]
    kept = [image.clone() for image in given[2][0]]
    (video,), (mask,), (images,) = prepare_source(
        *given, params['num_frames'], tuple(params['image_size']), 'cpu')
    assert list(video.shape) == want['video_shape'].tolist()
    assert list(mask.shape) == want['mask_shape'].tolist()
    assert video.unique().tolist() == want['video_unique'].tolist()
    assert mask.unique().tolist() == want['mask_unique'].tolist()
    assert len(images) == 4
    for i, image in enumerate(images):
        assert torch.equal(image, want[f'ref.{i}'])
    assert given[:2] == ([None], [None])
    assert len(kept) == 4 and all(map(torch.equal, given[2][0], kept))


def test_masks_are_clamped_and_of_one_channel():
    video = torch.rand(3, 1, 16, 16)
    mask = torch.linspace(-2, 2, 3 * 256).view(3, 1, 16, 16)
    (same,), (got,), images = prepare_source(
        [video], [mask], [None], 5, (32, 32), 'cpu')
    assert torch.equal(same, video) and images == [None]
    assert torch.equal(got, ((mask[:1] + 1) / 2).clamp(0, 1))
    with pytest.raises(ValueError, match='src_mask is given without'):
        prepare_source([None], [mask], [None], 5, (32, 32), 'cpu')


# Directions


def test_area_and_tokens_limit_size_and_length():
    wide = processor(area=480 * 832, seq_len=32760)
    assert wide.choose(81, 16, 720, 1280)[2:4] == (480, 832)
    wide.set_area(240 * 416)
    chosen = wide.choose(81, 16, 720, 1280)
    assert chosen.oh * chosen.ow <= 240 * 416
    assert len(chosen.frame_ids) == 81
    wide.set_seq_len(wide.tokens(720, 1280) * 3)
    chosen = wide.choose(81, 16, 720, 1280)
    # Spread over all of it: the first and the last are there.
    assert chosen.frame_ids[::8] == (0, 80) and len(chosen.frame_ids) == 9


@pytest.mark.parametrize('count', range(1, 10))
def test_short_videos(count):
    ids = processor().choose(count, 30, 48, 64).frame_ids
    assert len(ids) == (count - 1) // 4 * 4 + 1
    assert ids[0] == 0 and ids[-1] in (0, count - 1)
    assert sorted(set(ids)) == list(ids)


@pytest.mark.parametrize('change, told', (
    ({'zero_start': False}, 'zero_start is False'),))
def test_what_is_drawn_is_refused(change, told):
    with pytest.raises(ValueError, match=told):
        processor(**change)
    with pytest.raises(ValueError, match='areas are 1 and 2'):
        VaceVideoProcessor((4, 16, 16), 1, 2, 16, 16, True, 9, True)


def test_too_small_a_picture():
    with pytest.raises(ValueError, match='64x15 pixels is too small'):
        processor().choose(5, 16, 15, 64)


# Files


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    r"""A video that brightens, and masks of several lengths."""
    folder = tmp_path_factory.mktemp('vace')
    make_clip(folder / 'ramp.mp4', '-qp', 0, source=ramp(1, '64x48'))
    for name, seconds, size in (
            ('mask', 1, '64x48'), ('short', .5, '64x48'), ('long', 2, '64x48'),
            ('wide', 1, '96x48')):
        make_clip(folder / f'{name}.mp4', source=(
            f'color=black:s={size}:r=30:d={seconds},'
            f'drawbox=w=32:color=white:t=fill'))
    still = np.zeros((48, 64), np.uint8)
    still[:, :32] = 255
    Image.fromarray(still).save(folder / 'still.png')
    return folder


def test_the_very_frames_are_read(folder, monkeypatch):
    video, ids, size, fps = processor(seq_len=12 * 3).load_video(
        folder / 'ramp.mp4')
    stored = read_video(folder / 'ramp.mp4')
    assert size == (48, 64) and len(ids) == 9 and stored.size(1) == 30
    assert frame_count(folder / 'ramp.mp4') == 30
    assert fps == pytest.approx(9 / (29.5 / 30))
    torch.testing.assert_close(
        video, stored[:, list(ids)], rtol=0, atol=1e-6)
    monkeypatch.setattr(
        'wan.utils.vace_processor.GROUP_BYTES', 2 * 3 * 64 * 48)
    again = processor(seq_len=12 * 3).load_video(folder / 'ramp.mp4')[0]
    assert torch.equal(again, video)


def test_frames_in_a_folder(tmp_path):
    for i in range(7):
        Image.new('RGB', (32, 32), (i * 30,) * 3).save(
            tmp_path / f'{i:03}.png')
    video, ids, *_ = processor().load_video(tmp_path)
    assert ids == (0, 1, 3, 4, 6)
    for place, i in enumerate(ids):
        want = as_clip(read_image(tmp_path / f'{i:03}.png'))[:, 0]
        torch.testing.assert_close(video[:, place], want, rtol=0, atol=1e-6)


def test_a_part_of_each_picture(folder):
    box = (32, 64, 0, 32)
    video, *_ = processor().load_video(folder / 'mask.mp4', box)
    assert video.shape[2:] == (32, 32) and video.max() < -.8
    whole, *_ = processor().load_video(folder / 'mask.mp4')
    assert whole.max() > .8


@pytest.mark.parametrize('name', ('mask.mp4', 'still.png'))
def test_a_mask_goes_with_its_video(folder, name):
    video, mask, ids, *_ = processor().load_video_pair(
        folder / 'ramp.mp4', folder / name)
    assert len(ids) == 29 and mask.shape == video.shape
    assert mask[..., :30].min() > .8 and mask[..., -30:].max() < -.8
    alone, *_ = processor().load_video(folder / 'ramp.mp4')
    assert torch.equal(alone, video)


@pytest.mark.parametrize('name, told', (
    ('short.mp4', 'has 15 frames, src_video 30: it must have a mask for each'),
    ('long.mp4', 'has 60 frames, src_video 30'),
    ('wide.mp4', 'has 96x48 pixels, another shape than src_video with 64x48')))
def test_masks_that_do_not_fit(folder, name, told):
    with pytest.raises(ValueError, match=told):
        processor().load_video_pair(folder / 'ramp.mp4', folder / name)


def test_only_some_frames_are_read(folder):
    stored = read_video(folder / 'ramp.mp4')
    some = read_video(folder / 'ramp.mp4', only=(0, 7, 29, 99))
    assert torch.equal(some, stored[:, [0, 7, 29]])
