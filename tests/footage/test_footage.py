r"""Opening templates, choosing frames, and showing them."""
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from tests.footage.media import template
from tests.utils.media import ffmpeg
from wan.footage import Footage, times
from wan.footage import footage as module
from wan.utils.video import read_video


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return template(tmp_path_factory.mktemp('clip') / 'a.mp4', rate='12')


@pytest.mark.parametrize('options', [
    (), ('-vf', 'setsar=4/3'), ('-vf', 'setsar=3/4'),
    ('-colorspace', 'bt709'), ('-color_range', 'pc')])
@pytest.mark.parametrize('angle', [0, 90, 180, 270])
def test_shown_as_read_video_shows(tmp_path, options, angle):
    template(tmp_path / 'a.mp4', *options, frames=4)
    ffmpeg('-display_rotation', angle, '-i', tmp_path / 'a.mp4', '-c', 'copy',
           tmp_path / 'b.mp4')
    footage = Footage.open(tmp_path / 'b.mp4')
    video = read_video(tmp_path / 'b.mp4')
    assert footage.size == video.shape[:1:-1]
    for i, frame in zip((0, 2, 3), footage.shown((0, 2, 3)), strict=True):
        assert frame.dtype == torch.float32 and frame.is_contiguous()
        assert torch.equal(frame, video[:, i])


@pytest.mark.parametrize('kind', ['gif', 'folder', 'webm', 'hdr'])
def test_other_kinds_are_shown(tmp_path, clip, kind):
    path = tmp_path / f'a.{kind}'
    if kind == 'folder':
        path.mkdir()
        ffmpeg('-i', clip, path / '%03d.png')
    elif kind == 'webm':
        ffmpeg('-i', clip, '-vf', 'format=yuva420p,geq=lum=lum(X\\,Y):'
               'cb=cb(X\\,Y):cr=cr(X\\,Y):a=2*X', '-c:v', 'libvpx-vp9', path)
    elif kind == 'hdr':
        path = template(
            tmp_path / 'a.mkv', '-color_trc', 'smpte2084', '-color_primaries',
            'bt2020', '-colorspace', 'bt2020nc', pixels='yuv420p10le')
    else:
        ffmpeg('-i', clip, path)
    footage, video = Footage.open(path), read_video(path)
    assert len(footage.ticks) == video.shape[1] == 12
    frames = list(footage.shown(range(12)))
    assert torch.equal(torch.stack(frames, 1), video)


def test_chosen(clip):
    footage = Footage.open(clip)
    assert footage.chosen() == tuple(range(12))
    assert footage.chosen(start=0.25) == tuple(range(3, 12))
    assert footage.chosen(start=0.25, end=0.5) == (3, 4, 5)
    assert footage.chosen(fps=6) == (0, 2, 4, 6, 8, 10)
    assert footage.chosen(fps=6, start=0.3) == (4, 6, 8, 10)
    assert footage.chosen(fps=1e9) == tuple(range(12))


@pytest.mark.parametrize('given,words', [
    ({'start': -1}, 'from -1 to 1 seconds is not within the 1 seconds'),
    ({'start': 1.5}, 'not within'), ({'end': 2}, 'not within'),
    ({'start': 0.5, 'end': 0.5}, 'not within'),
    ({'start': float('nan')}, 'not within'),
    ({'start': 0.3, 'end': 0.32}, 'has no frame from 0.3 to 0.32'),
    ({'fps': 0}, 'fps must be positive'),
    ({'fps': float('nan')}, 'fps must be positive')])
def test_chosen_out_of_range(clip, given, words):
    with pytest.raises(ValueError, match=words):
        Footage.open(clip).chosen(**given)


@pytest.mark.parametrize('frames', [(), (3, 2), (1, 1), (-1,), (12,)])
def test_numbers_that_are_none(clip, frames):
    with pytest.raises(ValueError, match='numbered 0 to 11; rising'):
        next(Footage.open(clip).shown(frames))


def test_many_gaps_are_read_over(clip, monkeypatch):
    monkeypatch.setattr(module, 'MOST_RUNS', 2)
    footage, odd = Footage.open(clip), range(1, 12, 2)
    video = read_video(clip)
    for i, frame in zip(odd, footage.shown(odd), strict=True):
        assert torch.equal(frame, video[:, i])


def test_a_folder_of_unequal_pictures(tmp_path):
    for i, width in enumerate((8, 8, 9)):
        Image.new('RGB', (width, 8)).save(tmp_path / f'{i}.png')
    frames = Footage.open(tmp_path).shown(range(3))
    with pytest.raises(ValueError, match='must have one size'):
        list(frames)


def test_pickles_and_knows_its_file(tmp_path, clip):
    path = tmp_path / 'b.mp4'
    path.write_bytes(clip.read_bytes())
    footage = pickle.loads(pickle.dumps(Footage.open(path)))
    footage.unchanged()
    path.write_bytes(clip.read_bytes() + b'\0')
    with pytest.raises(ValueError, match='has changed since'):
        footage.unchanged()
    path.unlink()
    with pytest.raises(ValueError, match='has changed since'):
        next(footage.shown([0]))


def test_cut_short(tmp_path, clip):
    ffmpeg('-i', clip, '-c', 'copy', tmp_path / 'a.mkv')
    whole = (tmp_path / 'a.mkv').read_bytes()
    (tmp_path / 'a.mkv').write_bytes(whole[:len(whole) // 2])
    try:
        footage = Footage.open(tmp_path / 'a.mkv')
    except ValueError as error:
        assert 'cut short' in str(error)
    else:  # what is there can be shown
        assert 1 <= len(footage.ticks) < 12
        assert len(list(footage.shown(range(len(footage.ticks))))) == len(
            footage.ticks)
    moved = tmp_path / 'b.mp4'
    moved.write_bytes(clip.read_bytes()[:2000])
    with pytest.raises(ValueError, match='not a readable video'):
        Footage.open(moved)


def test_damage_leaves_frames_and_times_one_to_one(tmp_path, clip):
    generator = np.random.default_rng(0)
    for seed in range(4):
        data = bytearray(clip.read_bytes())
        for at in generator.integers(300, len(data) * 2 // 3, 3):
            data[at:at + 4] = generator.bytes(4)
        path = tmp_path / f'{seed}.mp4'
        path.write_bytes(data)
        try:
            footage = Footage.open(path)
        except ValueError as error:
            assert len(str(error).splitlines()) == 1
            continue
        count = len(footage.ticks)
        assert all(np.diff(footage.ticks) > 0)
        assert len(list(footage.shown(range(count)))) == count


def test_limits(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(times, 'MAX_FRAMES', 11)
    with pytest.raises(ValueError, match='more than 11 frames'):
        Footage.open(clip)
    for path in (tmp_path / 'no.mp4', tmp_path):
        with pytest.raises(ValueError, match='not an existing file'):
            Footage.open(path)


def test_memory_does_not_grow(tmp_path):
    r"""Python's own memory while a longer clip is shown."""
    path = template(tmp_path / 'a.mp4', size=(320, 240), frames=60)
    footage = Footage.open(path)
    frame = 320 * 240 * 3 * 4
    tracemalloc.start()
    for _ in footage.shown(range(60)):
        pass
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * frame + 2**22
