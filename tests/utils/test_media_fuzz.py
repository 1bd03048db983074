r"""Damage by chance: a clip or picture, or one sentence, soon."""
import logging
import random
import time

import pytest
import torch
from PIL import Image

from tests.utils.media import ffmpeg, make_clip
from wan.utils.image import open_image
from wan.utils.video import probe, read_video

SECONDS = 4.0  # for each kind of file
SLOW = 5.0


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    r"""Undamaged files by suffix."""
    folder = tmp_path_factory.mktemp('whole')
    sound = ('-f', 'lavfi', '-i', 'sine=d=1')
    source = 'testsrc=s=64x48:r=8:d=1'
    make_clip(folder / 'a.mp4', '-c:a', 'aac', source=source, inputs=sound)
    for name in ('a.mkv', 'a.ts'):
        ffmpeg('-i', folder / 'a.mp4', '-c', 'copy', folder / name)
    ffmpeg('-i', folder / 'a.mp4', folder / 'a.gif')
    image = Image.effect_noise((64, 48), 60).convert('RGB')
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ('png', 'jpg', 'webp', 'tiff', 'avif'):
        image.save(folder / f'a.{suffix}', exif=exif)
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


def damaged(data, chance):
    r"""Some bytes overwritten, mostly near the start; at times the end cut."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 3, 20))):
        at = chance.randrange(min(len(data), chance.choice((64, 600, 10**9))))
        new = chance.choice((b'\xff\xff\xff\xff', bytes(4),
                             chance.randbytes(4)))[:len(data) - at]
        data[at:at + len(new)] = new
    if chance.random() < 0.2:
        data = data[:chance.randrange(1, len(data))]
    return bytes(data)


def read_clip(path):
    info = probe(path)
    assert info.width > 0 and info.fps > 0
    assert all(note.endswith('.') for note in info.notes)
    clip = read_video(path, (32, 32), 16, 20)
    assert clip.shape[2:] == (32, 32) and 1 <= clip.shape[1] <= 20
    assert torch.isfinite(clip).all() and clip.abs().max() <= 1


def read_still(path):
    image, notes = open_image(path)
    assert image.mode in ('RGB', 'RGBA') and min(image.size) > 0
    assert all(note.endswith('.') for note in notes)


@pytest.mark.parametrize('suffix,read', [
    *((suffix, read_clip) for suffix in ('.mp4', '.mkv', '.ts', '.gif')),
    *((suffix, read_still) for suffix in (
        '.png', '.jpg', '.webp', '.tiff', '.avif'))])
def test_damage(tmp_path, whole, caplog, suffix, read):
    caplog.set_level(logging.CRITICAL)
    chance, path = random.Random(suffix), tmp_path / f'a{suffix}'
    end = time.perf_counter() + SECONDS / (1 if read is read_clip else 4)
    outcomes = set()
    while time.perf_counter() < end:
        path.write_bytes(damaged(whole[suffix], chance))
        start = time.perf_counter()
        try:
            read(path)
            outcomes.add('read')
        except ValueError as error:
            outcomes.add('refused')
            said = str(error)
            assert str(path) in said and '\n' not in said and len(said) < 600
        assert time.perf_counter() - start < SLOW
    # Which of the two, chance decides; on a busy machine it is one alone.
    assert outcomes and outcomes <= {'read', 'refused'}
