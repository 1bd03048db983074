r"""cache_video and cache_image: pixel values, grids, tags, and failures."""
import argparse
import inspect
import json
import os
import re

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tests.goldens import table
from tests.utils.media import noise, tags
from wan.utils import utils
from wan.utils.image import read_image
from wan.utils.utils import (
    cache_image,
    cache_video,
    rand_name,
    save_image,
    str2bool,
)
from wan.utils.video import probe, read_video


def test_str2bool_as_recorded():
    recorded = table('cli')['str2bool']
    for expected, words in ((True, recorded['true']),
                            (False, recorded['false'])):
        for word in words:
            assert str2bool(word) is str2bool(word.upper()) is expected
        assert str2bool(expected) is expected
    for wrong in ('', 'maybe', '2', ' true'):
        with pytest.raises(argparse.ArgumentTypeError, match='Boolean'):
            str2bool(wrong)


def test_signatures_extend_the_recorded_ones():
    recorded = table('api')['modules']['wan.utils.utils']['functions']
    for name, entry in recorded.items():
        ours = inspect.signature(getattr(utils, name)).parameters
        theirs = {p['name']: p.get('default') for p in entry['parameters']}
        theirs.pop('retry', None)  # trying the same again helps nobody
        positional = {k: p for k, p in ours.items()
                      if p.kind is not p.KEYWORD_ONLY}
        assert list(positional) == list(theirs)
        for key, default in theirs.items():
            if default is not None:
                assert repr(positional[key].default) == default


def test_rand_name():
    assert re.fullmatch('[0-9a-f]{16}', rand_name())
    assert re.fullmatch(r'[0-9a-f]{6}\.mp4', rand_name(3, 'mp4'))
    assert rand_name(suffix='.png') != rand_name(suffix='.png')


def test_image_rounds(tmp_path):
    r"""Every byte and the values half between two bytes, exactly."""
    levels = torch.linspace(0, 255, 511, dtype=torch.float64)
    image = (levels / 255 * 2 - 1).float().expand(1, 3, 2, -1)
    path = cache_image(image, tmp_path / 'ramp.png')
    got = np.asarray(Image.open(path))[0, :, 0]
    want = (((image[0, 0, 0] + 1) / 2) * 255 + 0.5).floor().numpy()
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(got[::2], np.arange(256))


def test_video_truncates(monkeypatch, tmp_path):
    r"""What ffmpeg is fed: (x + 1) / 2 * 255, truncated; clamped before."""
    fed = []
    monkeypatch.setattr(
        'wan.utils.utils.write_video',
        lambda path, frames, fps, **extra: fed.extend(frames))
    levels = torch.tensor([-3, -1, -0.5, 0, 0.5, 0.999, 1, 3])
    cache_video(levels.expand(1, 3, 2, 4, -1), 'x.mp4')
    assert len(fed) == 2 and fed[0].dtype == np.uint8
    assert fed[0].shape == (4, 8, 3)
    assert fed[0][0, :, 0].tolist() == [0, 0, 63, 127, 191, 254, 255, 255]


@pytest.mark.parametrize('colour', [
    (200, 50, 50), (10, 200, 120), (128, 128, 128), (255, 255, 255),
    (0, 0, 0), (30, 60, 250)])
def test_video_keeps_colours(tmp_path, colour):
    r"""Written and read back within one level of 255."""
    rgb = torch.tensor(colour).view(1, 3, 1, 1, 1) + 0.5  # survives truncation
    tensor = (rgb / 255 * 2 - 1).expand(1, 3, 3, 32, 48)
    path = cache_video(tensor, tmp_path / 'plain.mp4', fps=16)
    back = (read_video(path) + 1) * 127.5
    error = (back - torch.tensor(colour).view(3, 1, 1, 1)).abs().max()
    assert error <= 1.001
    half = (read_video(path, size=(20, 20)) + 1) * 127.5
    assert (half - back[..., :20, :20]).abs().max() <= 1.001


def test_video_keeps_size_rate_and_length(tmp_path):
    path = cache_video(noise(5, 36, 52), tmp_path / 'new/sub/a.mp4', fps=12.5)
    info = probe(path)
    assert path == tmp_path / 'new/sub/a.mp4'
    assert (info.width, info.height, info.fps) == (52, 36, 12.5)
    assert read_video(path).shape == (3, 5, 36, 52)
    assert os.listdir(path.parent) == ['a.mp4']


def test_odd_sides_repeat_their_last_line(tmp_path):
    tensor = torch.full((1, 3, 2, 21, 33), -1.0)
    tensor[..., -1] = 1.0
    video = read_video(cache_video(tensor, tmp_path / 'odd.mp4'))
    assert video.shape == (3, 2, 22, 34)
    assert (video[..., -2:] > 0.8).all() and (video[..., :30] < -0.8).all()


def test_one_channel_one_frame_no_name():
    path = cache_video(torch.zeros(1, 1, 1, 16, 16), suffix='mkv')
    try:
        assert path.suffix == '.mkv'
        assert read_video(path).shape == (3, 1, 16, 16)
    finally:
        path.unlink()


def test_range_and_normalize(tmp_path):
    image = torch.tensor([0.0, 0.25, 1.0]).expand(1, 3, 1, -1)
    for kwargs, want in (
        ({'normalize': False}, [0, 64, 255]),
        ({'value_range': (0, 1)}, [0, 64, 255]),
        ({'value_range': (0, 0.5)}, [0, 128, 255]),
    ):
        path = cache_image(image, tmp_path / 'a.png', **kwargs)
        assert np.asarray(Image.open(path))[0, :, 0].tolist() == want


@pytest.mark.parametrize('batch,nrow,shape', [
    (1, 8, (5, 7)), (3, 8, (9, 29)), (3, 2, (16, 20)), (4, 1, (30, 11))])
def test_grid(tmp_path, batch, nrow, shape):
    r"""Lines of 2 black pixels between and around, row by row."""
    image = torch.ones(batch, 3, 5, 7)
    image *= torch.linspace(0.1, 1, batch).view(-1, 1, 1, 1)
    path = cache_image(image, tmp_path / 'grid.png', nrow=nrow)
    got = np.asarray(Image.open(path))[..., 0]
    assert got.shape == shape
    if batch == 1:
        return
    columns = min(nrow, batch)
    for i in range(batch):
        y, x = 2 + i // columns * 7, 2 + i % columns * 9
        want = int((image[i, 0, 0, 0] + 1) / 2 * 255 + 0.5)
        assert (got[y:y + 5, x:x + 7] == want).all()
        got = got.copy()
        got[y:y + 5, x:x + 7] = 0
    assert not got.any()


def test_video_grid(tmp_path):
    path = cache_video(noise(batch=3, height=14, width=20), tmp_path / 'g.mp4',
                       nrow=2)
    assert read_video(path).shape == (3, 4, 34, 46)


def test_metadata_reads_back(tmp_path):
    comment = json.dumps({'seed': 7, 'prompt': 'a=b; "c" #é\n'})
    path = cache_video(noise(), tmp_path / 'a.mp4',
                       metadata={'comment': comment, 'wan': 'x'})
    text = re.sub(r'\\([=;#\\\n])', r'\1', tags(path))
    assert f'comment={comment}\n' in text and 'wan=x\n' in text
    path = cache_image(noise()[:, :, 0], tmp_path / 'a.png',
                       metadata={'comment': comment})
    with Image.open(path) as image:
        image.load()
        assert image.text == {'comment': comment}
    path = cache_image(noise()[:, :, 0], tmp_path / 'a.jpg',
                       metadata={'comment': comment})
    with Image.open(path) as image:
        described = json.loads(image.getexif()[0x010E])
    assert described == {'comment': comment}


@pytest.mark.parametrize('length', [10**5, 3 * 10**6])
def test_metadata_of_any_length(tmp_path, caplog, length):
    r"""The program's arguments and EXIF hold less; the result comes first."""
    comment = 'a=b; "c" #é\n\\x' * (length // 14)
    path = cache_video(noise(), tmp_path / 'a.mp4',
                       metadata={'comment': comment})
    with av.open(str(path)) as file:
        assert file.metadata['comment'] == comment
    path = cache_image(noise()[:, :, 0], tmp_path / 'a.png',
                       metadata={'comment': comment})
    read_image(path)
    assert not caplog.text
    path = cache_image(noise()[:, :, 0], tmp_path / 'a.jpg',
                       metadata={'comment': comment})
    read_image(path)
    assert 'a.jpg does not hold its record' in caplog.text


@pytest.mark.parametrize('save,tensor,name,words', [
    (cache_video, torch.zeros(3, 4, 8, 8), 'a.mp4', r'\[B, C, T, H, W\]'),
    (cache_video, torch.zeros(1, 3, 0, 8, 8), 'a.mp4', r'\[1, 3, 0, 8, 8\]'),
    (cache_video, torch.full((1, 3, 1, 8, 8), torch.nan), 'a.mp4', 'are nan'),
    (cache_video, torch.zeros(1, 3, 1, 8, 8), 'a.webm', 'must end in one of'),
    (cache_image, torch.zeros(1, 4, 8, 8), 'a.png', r'\[B, C, H, W\]'),
    (cache_image, torch.full((1, 3, 8, 8), torch.nan), 'a.png', 'are nan'),
    (cache_image, torch.zeros(1, 3, 8, 8), 'a.gif', 'must end in one of'),
])
def test_bad_input_writes_nothing(tmp_path, save, tensor, name, words):
    with pytest.raises(ValueError, match=words):
        save(tensor, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_save_image_of_pillow(tmp_path):
    picture = Image.new('RGBA', (5, 4), (1, 2, 3, 4))
    path = save_image(picture, tmp_path / 'deep/er/a.png')
    assert Image.open(path).getpixel((0, 0)) == (1, 2, 3, 4)
