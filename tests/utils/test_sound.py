r"""The sound of a template: in step with the picture, or left out in words."""
import logging

import av
import numpy as np
import pytest

from tests.utils.media import ffmpeg, make_clip, noise
from wan.utils.sound import read_sound
from wan.utils.utils import cache_video
from wan.utils.video import audio_codec, probe

RATE = 48_000


def click(path, at, *options, start=0.0, length=1.5):
    r"""A clip whose picture starts at `start` s and that clicks at `at` s."""
    ffmpeg('-f', 'lavfi', '-i', f'testsrc=s=64x48:r=16:d={length}', '-f',
           'lavfi', '-i', f"aevalsrc='if(between(t,{at},{at}+0.1),"
           f"sin(6000*t),0)':d={length}:s={RATE}", '-filter_complex',
           f'[0]setpts=PTS+{start}/TB[v]', '-map', '[v]', '-map', 1, '-c:v',
           'libx264', '-c:a', 'aac', '-fps_mode', 'passthrough', *options, path)
    return path


def onset(path):
    r"""Seconds from the first picture to the first loud sample."""
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))
        zero = float(frame.pts * frame.time_base)
    with av.open(str(path)) as file:
        for frame in file.decode(audio=0):
            loud = np.abs(frame.to_ndarray().astype(float)).max(0) > 0.2
            if loud.any():
                return float(frame.pts * frame.time_base) - zero + (
                    loud.argmax() / frame.sample_rate)
    return None


@pytest.mark.parametrize('name,options', [
    ('a.mp4', ()), ('a.mkv', ()), ('a.ts', ('-copyts',)),
    ('a.mov', ('-c:a', 'pcm_f32le')), ('a.avi', ('-c:a', 'pcm_s16le'))])
@pytest.mark.parametrize('start', [0.0, 0.5])
def test_in_step_with_the_first_picture(tmp_path, name, options, start):
    if name == 'a.avi':
        start = 0.0  # it has no times of its own
    template = click(tmp_path / name, 1.0, *options, start=start)
    path = cache_video(noise(20), tmp_path / 'b.mp4', fps=16, audio=template)
    assert onset(path) == pytest.approx(1.0 - start, abs=0.003)


def test_sound_that_starts_late_stays_late(tmp_path):
    silent = make_clip(tmp_path / 'silent.mp4', source='testsrc=s=64x48:d=1.5')
    template = tmp_path / 'a.mp4'
    ffmpeg('-i', silent, '-itsoffset', 0.4, '-f', 'lavfi', '-i',
           'sine=2000:d=0.5', '-c:v', 'copy', '-c:a', 'aac', '-af',
           'volume=8', template)
    path = cache_video(noise(20), tmp_path / 'b.mp4', fps=16, audio=template)
    assert onset(path) == pytest.approx(onset(template), abs=0.003)
    assert onset(path) == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize('which', [0, 1])
def test_the_default_track_counts(tmp_path, which):
    r"""One clicks at 0.25, the other at 0.75 seconds."""
    clips = [click(tmp_path / f'{i}.mp4', 0.25 + 0.5 * i) for i in range(2)]
    template = tmp_path / 'two.mkv'
    ffmpeg('-i', clips[0], '-i', clips[1], '-map', '0', '-map', '1:a', '-c',
           'copy', '-disposition:a', '0', f'-disposition:a:{which}', 'default',
           template)
    assert any('Of 2 sound tracks' in note for note in probe(template).notes)
    path = cache_video(noise(20), tmp_path / 'b.mp4', fps=16, audio=template)
    assert onset(path) == pytest.approx(0.25 + 0.5 * which, abs=0.003)


def ac4(path):
    r"""A clip whose sound calls itself AC-4, which ffmpeg does not decode."""
    data = click(path, 0.2).read_bytes()
    path.write_bytes(data.replace(b'mp4a', b'ac-4').replace(b'esds', b'free'))


def no_packets(path):
    r"""A sound track that ends before its first packet."""
    click(path, 0.2)
    data, at = path.read_bytes(), 0
    for kind in (b'stts', b'stsc', b'stsz', b'stco'):  # of the second track
        at = data.index(kind, data.index(b'smhd'))
        size = int.from_bytes(data[at - 4:at], 'big')
        data = data[:at + 8] + bytes(size - 12) + data[at + size - 4:]
    path.write_bytes(data)


def noise_for_packets(path):
    r"""Ogg Vorbis packets, overwritten."""
    click(path, 0.2, '-c:a', 'vorbis', '-ac', 2, '-strict', -2)
    with av.open(str(path)) as file:
        data = bytearray(path.read_bytes())
        for packet in file.demux(audio=0):
            raw = bytes(packet)
            at = data.find(raw) if raw else -1
            if at >= 0:
                data[at:at + len(raw)] = b'\xff' * len(raw)
    path.write_bytes(data)


@pytest.mark.parametrize('make,name', [
    (ac4, 'a.mp4'), (no_packets, 'a.mp4'), (noise_for_packets, 'a.mkv')])
def test_sound_that_cannot_be_kept(tmp_path, caplog, make, name):
    r"""The header tells so at the start; the result is written without it."""
    path = tmp_path / name
    make(path)
    info = probe(path)
    assert (info.width, info.height) == (64, 48)
    assert not info.has_audio and info.audio_codec is audio_codec(path) is None
    assert 'audio cannot be decoded' in info.notes[-1]
    assert 'the result has none' in info.notes[-1]
    caplog.set_level(logging.WARNING)
    result = probe(cache_video(noise(), tmp_path / 'b.mp4', audio=path))
    assert not result.has_audio and 'left out' in caplog.text


def test_sound_outlives_its_file(tmp_path):
    template = click(tmp_path / 'a.mp4', 0.3)
    sound = read_sound(template, 0.5)
    template.unlink()
    path = cache_video(noise(8), tmp_path / 'b.mp4', fps=16, audio=sound)
    assert onset(path) == pytest.approx(0.3, abs=0.003)
    assert probe(path).duration == pytest.approx(0.5, abs=0.06)


def test_sound_that_ends_before_the_picture(tmp_path):
    template = tmp_path / 'a.mkv'
    ffmpeg('-itsoffset', 2, '-f', 'lavfi', '-i', 'testsrc=s=64x48:r=16:d=1',
           '-f', 'lavfi', '-i', 'sine=d=0.5', '-c:a', 'libvorbis', template)
    assert read_sound(template, 1) is None
    path = cache_video(noise(8), tmp_path / 'b.mp4', fps=16, audio=template)
    assert not probe(path).has_audio
