r"""Times of frames: constant and variable, cut, without any."""
from fractions import Fraction

import numpy as np
import pytest

from tests.clips import starts
from tests.footage.media import template
from tests.utils.media import ffmpeg
from wan.footage import Footage
from wan.footage.times import between, nearest_frames, runs
from wan.utils.video import read_video

VFR = ('-vf', "select='lt(n,8)+not(mod(n,5))'", '-fps_mode', 'vfr')


@pytest.mark.parametrize('rate', ['24', '30000/1001'])
@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_constant_rate(tmp_path, rate, suffix):
    footage = Footage.open(template(tmp_path / f'a.{suffix}', rate=rate))
    want = np.arange(12) / float(Fraction(rate))
    assert np.abs(footage.times - want).max() < 6e-4
    assert footage.duration == pytest.approx(
        12 / float(Fraction(rate)), abs=2e-3)
    assert footage.fps == pytest.approx(float(Fraction(rate)), abs=0.1)
    assert footage.notes == ()


@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_variable_rate(tmp_path, suffix):
    footage = Footage.open(template(
        tmp_path / f'a.{suffix}', *VFR, frames=14))
    want = [*range(8), *range(10, 40, 5)]
    assert np.allclose(footage.times, np.array(want) / 24, atol=6e-4)
    assert footage.chosen(fps=4.8) == (0, 5, *range(8, 14))


def test_a_cut_file_counts_from_its_first_picture(tmp_path):
    r"""B-frames, an edit list, and sound that starts before."""
    whole = template(
        tmp_path / 'whole.mp4', '-g', 12, '-c:a', 'aac', '-shortest',
        frames=48, inputs=('-f', 'lavfi', '-i', 'sine=d=2'))
    for name in ('cut.mp4', 'cut.mkv', 'cut.ts'):
        ffmpeg('-ss', 0.7, '-i', whole, '-c', 'copy', tmp_path / name)
        footage = Footage.open(tmp_path / name)
        assert footage.times[0] == 0
        assert len(footage.times) == read_video(tmp_path / name).shape[1]
        assert np.allclose(np.diff(footage.times), 1 / 24, atol=1.1e-3)
        absolute = [float(tick * footage.base) for tick in footage.ticks]
        assert np.allclose(absolute, starts(tmp_path / name, 'video')[
            -len(absolute):], atol=1e-3)


def test_a_stream_without_times(tmp_path):
    template(tmp_path / 'a.mp4')
    ffmpeg('-i', tmp_path / 'a.mp4', '-c', 'copy', tmp_path / 'a.h264')
    times = Footage.open(tmp_path / 'a.h264').times
    assert len(times) == 12
    assert np.allclose(np.diff(times), 1 / 24, atol=0.01)


def test_gif(tmp_path):
    template(tmp_path / 'a.mp4', rate='10')
    ffmpeg('-i', tmp_path / 'a.mp4', tmp_path / 'a.gif')
    footage = Footage.open(tmp_path / 'a.gif')
    assert np.allclose(footage.times, np.arange(12) / 10)
    assert footage.duration == pytest.approx(1.2)


def test_nearest_frames():
    times = [k / 30 for k in range(30)]
    assert nearest_frames(times, 1, 30) == list(range(30))
    assert nearest_frames(times, 1, 1000) == list(range(30))
    assert nearest_frames(times, 1, 10) == list(range(0, 30, 3))
    assert nearest_frames(times, 1, 0.1) == [0]
    # Of two that are as near, the later, as of `read_video`.
    assert nearest_frames(times, 1, 20) == [
        *sorted({int(k * 1.5 + 0.5) for k in range(20)})]


def test_between_forgives_rounding():
    assert between([0, 0.0333, 0.0667], 1 / 30, 0.05) == range(1, 2)


def test_runs():
    assert runs([0, 1, 2, 5, 7, 8]) == [(0, 2), (5, 5), (7, 8)]
    assert runs([]) == []
