r"""Writing results: audio, and failures that leave nothing behind."""
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.utils.media import ffmpeg, make_clip, noise, tags
from wan.utils import sound, video_writer
from wan.utils.utils import cache_image, cache_video
from wan.utils.video import audio_codec, probe, read_video


@pytest.fixture(scope='module')
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sounds')
    template = make_clip(folder / 'template.mp4', '-c:a', 'aac',
                         inputs=('-f', 'lavfi', '-i', 'sine=d=1'))
    for name in ('a.mp3', 'a.wav', 'short.wav'):
        ffmpeg('-f', 'lavfi', '-i', f'sine=d={0.1 if "short" in name else 1}',
               folder / name)
    silent = make_clip(folder / 'silent.mp4')
    return {p.name: p for p in (
        template, silent, *(folder / n for n in ('a.mp3', 'a.wav',
                                                 'short.wav')))}


@pytest.mark.parametrize('name,codec', [
    ('template.mp4', 'aac'), ('a.mp3', 'mp3'), ('a.wav', 'aac'),
    ('short.wav', 'aac')])
def test_audio(tmp_path, sounds, name, codec):
    path = cache_video(noise(8), tmp_path / 'a.mp4', fps=16, audio=sounds[name],
                       metadata={'comment': 'kept'})
    info = probe(path)
    assert info.audio_codec == codec == audio_codec(path)
    assert info.duration == pytest.approx(0.5, abs=0.06)
    assert read_video(path).shape[1] == 8
    assert 'comment=kept' in tags(path)
    assert os.listdir(tmp_path) == ['a.mp4']


def test_audio_that_cannot_be_copied_is_encoded(tmp_path, sounds, monkeypatch):
    real = sound.run_ffmpeg

    def refuses_copy(args, **kwargs):
        if '-c:a' in args and args[args.index('-c:a') + 1] == 'copy':
            args = [*args[:-1], str(tmp_path / 'no' / 'folder.mp4')]
        return real(args, **kwargs)

    monkeypatch.setattr(sound, 'run_ffmpeg', refuses_copy)
    path = cache_video(noise(), tmp_path / 'a.mp4', audio=sounds['a.mp3'])
    assert audio_codec(path) == 'aac'


def test_audio_without_audio(tmp_path, sounds):
    for audio, words in ((sounds['silent.mp4'], 'holds no audio'),
                         (tmp_path / 'none.wav', 'not an existing file')):
        with pytest.raises(ValueError, match=words):
            cache_video(noise(), tmp_path / 'a.mp4', audio=audio)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('fps', [0, -1, float('nan'), float('inf')])
def test_bad_rate(tmp_path, fps):
    with pytest.raises(ValueError, match='fps must be positive'):
        cache_video(noise(), tmp_path / 'a.mp4', fps=fps)


def test_unequal_frames(tmp_path):
    frames = [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)]
    with pytest.raises(ValueError, match='Frame 1 is uint8'):
        video_writer.write_video(tmp_path / 'a.mp4', frames, 8)
    assert os.listdir(tmp_path) == []


@pytest.fixture
def earlier(tmp_path):
    r"""A result of an earlier run, which failures must not touch."""
    for name in ('a.mp4', 'a.png'):
        (tmp_path / name).write_bytes(b'earlier result')
    yield tmp_path
    assert sorted(os.listdir(tmp_path)) == ['a.mp4', 'a.png']
    for name in ('a.mp4', 'a.png'):
        assert (tmp_path / name).read_bytes() == b'earlier result'


def test_disk_full(earlier):
    r"""A limit on file size stands for the full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match='Could not write .*a.mp4: ffmpeg'):
            cache_video(noise(20, 128, 128), earlier / 'a.mp4')
        with pytest.raises(OSError, match='too large'):
            cache_image(noise(1, 256, 256)[:, :, 0], earlier / 'a.png')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_encoder_refuses(earlier, monkeypatch):
    monkeypatch.setattr(
        video_writer, 'ENCODER', ('-c:v', 'libx264', '-crf', 'bad'))
    with pytest.raises(OSError, match='a.mp4: ffmpeg ended with .*crf'):
        cache_video(noise(60, 64, 64), earlier / 'a.mp4')


def test_result_that_does_not_decode(earlier, monkeypatch):
    def damage(path, temporary, *rest):
        temporary.write_bytes(b'not a video')
        return 1

    monkeypatch.setattr(video_writer, '_encode', damage)
    with pytest.raises(OSError, match='first frame does not decode'):
        cache_video(noise(), earlier / 'a.mp4')


def test_interrupted_while_frames_come(earlier):
    def frames():
        for _ in range(3):
            yield np.zeros((64, 64, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video_writer.write_video(earlier / 'a.mp4', frames(), 8)


@pytest.mark.parametrize('name', ['_verify', '_add_audio'])
def test_interrupted_after_encoding(earlier, sounds, monkeypatch, name):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(video_writer, name, interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache_video(noise(), earlier / 'a.mp4', audio=sounds['a.mp3'])


def test_interrupted_image(earlier, monkeypatch):
    def interrupt(self, file, **kwargs):
        file.write_bytes(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, 'save', interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache_image(noise()[:, :, 0], earlier / 'a.png')


def test_ctrl_c_from_a_terminal(earlier):
    r"""SIGINT to the whole process group, as a terminal sends it."""
    script = (
        'import itertools, sys, numpy as np\n'
        'from wan.utils.video_writer import write_video\n'
        'def frames():\n'
        '    for i in itertools.count():\n'
        '        if i == 5: print("going", flush=True)\n'
        '        yield np.zeros((64, 64, 3), np.uint8)\n'
        'write_video(sys.argv[1], frames(), 8)\n')
    process = subprocess.Popen(
        [sys.executable, '-c', script, earlier / 'a.mp4'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, cwd=Path(__file__).parents[2])
    assert process.stdout.readline() == 'going\n'
    os.killpg(process.pid, signal.SIGINT)
    _, log = process.communicate(timeout=30)
    assert process.returncode != 0 and 'KeyboardInterrupt' in log
