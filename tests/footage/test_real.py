r"""A clip as a phone makes it, edited and read as strangers would."""
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.clips import filmed_clip, packets, starts, told
from tests.footage.media import same
from wan.footage import Footage, write_footage
from wan.utils.video import read_video


@pytest.fixture(scope='module')
def filmed(tmp_path_factory):
    return filmed_clip(tmp_path_factory.mktemp('filmed') / 'phone.mov',
                       frames=20)


def test_the_clip_is_what_it_says(filmed):
    facts = told(filmed)
    assert facts['size'] == (320, 180) and facts['display']
    assert [facts[n] for n in (
        'range', 'matrix', 'primaries', 'transfer')] == [1, 1, 1, 1]
    video = read_video(filmed)
    assert video.shape == (3, 20, 320, 180)
    assert (video[:, 1:] - video[:, :-1]).abs().mean() > 0.01  # it moves
    with av.open(str(filmed)) as file:
        assert file.streams.audio[0].channels == 2
        assert file.streams.video[0].average_rate == Fraction(30000, 1001)


@pytest.mark.parametrize('codec,suffix', [
    ('x264', 'mp4'), ('x264', 'mov'), ('x264', 'mkv'), ('x265', 'mp4'),
    ('prores', 'mov'), ('lossless', 'mkv')])
def test_only_the_product_changes(tmp_path, filmed, codec, suffix):
    footage, result = Footage.open(filmed), tmp_path / f'b.{suffix}'
    changed = write_footage(result, footage, same(
        footage, left=60, top=120, width=60, height=90), codec=codec)
    assert changed.psnr_outside >= 45
    assert changed.ssim_outside > 0.98
    assert changed.share == pytest.approx(60 * 90 / 320 / 180)
    facts = told(result)
    assert facts | {'pixels': ''} == told(filmed) | {'pixels': ''}
    assert packets(result, 'audio') == packets(filmed, 'audio')
    slack = 1.1e-3 if suffix == 'mkv' else 1e-6
    assert np.allclose(starts(result, 'video'), starts(filmed, 'video'),
                       atol=slack)
    assert np.allclose(starts(result, 'audio'), starts(filmed, 'audio'),
                       atol=slack)
    with av.open(str(result)) as a, av.open(str(filmed)) as b:
        assert a.duration == pytest.approx(
            b.duration, abs=7000 if suffix == 'mkv' else 2000)
