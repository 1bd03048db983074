r"""Files from strangers: odd names, what is not a video, huge claims."""
import json
import os
import struct
import time

import pytest

from tests.utils.media import ffmpeg, make_clip, noise
from wan.jobs.origin import write_record
from wan.utils import ffmpeg as ffmpeg_module
from wan.utils.record import RunRecord
from wan.utils.utils import cache_video
from wan.utils.video import audio_codec, probe, read_video


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    r"""64x48, 30 fps, one second."""
    return make_clip(tmp_path_factory.mktemp('media') / 'clip.mp4')


def test_names_are_only_names(tmp_path, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('-i.mp4', 'concat:a|b.mp4', 'http:x.mp4', '%d\n.mp4', 'é *'):
        os.link(clip, name)
        assert probe(name).frames == 30
        assert read_video(name, max_frames=1).shape[1] == 1
    for name in ('http://localhost/x.mp4', 'pipe:0', '-', str(tmp_path),
                 'x' * 5000, 'a\0b'):
        with pytest.raises(ValueError, match='not an existing file'):
            probe(name)


def huge_gif() -> bytes:
    return (b'GIF89a' + struct.pack('<HH', 60000, 60000)
            + b'\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0'
            + struct.pack('<HH', 60000, 60000) + b'\0\x02\x02D\x01\0;')


@pytest.mark.parametrize('name,data,words', [
    ('empty.mp4', b'', 'is empty'),
    ('text.mp4', b'hello world\n' * 50, 'not a readable video'),
    ('text.txt', b'hello world\n' * 50, 'not a readable video'),
    ('noise.mkv', bytes(range(256)) * 40, 'not a readable video'),
    ('image.png', b'\x89PNG\r\n\x1a\n' + b'wrong' * 20, 'not a readable video'),
    ('list.mp4', b'ffconcat version 1.0\nfile clip.mp4\n', 'not a readable'),
    ('list.m3u8', b'#EXTM3U\n#EXTINF:1\nclip.mp4\n#EXT-X-ENDLIST\n',
     'not a readable video'),
    ('huge.gif', huge_gif(), 'at most 67108864 pixels'),
])
def test_what_is_not_a_video(tmp_path, clip, name, data, words):
    os.link(clip, tmp_path / 'clip.mp4')
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ValueError, match=words) as error:
        read_video(path)
    assert name in str(error.value) and '\n' not in str(error.value)


def test_huge_declared_frame(tmp_path):
    r"""A raw AVI whose header says 60,000 x 60,000 is refused, not decoded."""
    path = tmp_path / 'huge.avi'
    ffmpeg('-f', 'lavfi', '-i', 'testsrc=s=64x48:r=5:d=1', '-c:v', 'rawvideo',
           '-pix_fmt', 'bgr24', path)
    small = struct.pack('<ii', 64, -48)
    huge = struct.pack('<ii', 60000, -60000)
    assert small in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(small, huge))
    start = time.perf_counter()
    with pytest.raises(ValueError, match='huge.avi.* at most 67108864 pixels'):
        read_video(path, max_frames=1)
    assert time.perf_counter() - start < 1


def test_audio_only(tmp_path):
    path = tmp_path / 'tone.mp3'
    ffmpeg('-f', 'lavfi', '-i', 'sine=d=0.2', path)
    with pytest.raises(ValueError, match=r'holds no video \(it is mp3\)'):
        probe(path)
    assert audio_codec(path) == 'mp3'


def test_cover_art_is_no_video(tmp_path):
    path = tmp_path / 'song.mp3'
    ffmpeg('-f', 'lavfi', '-i', 'sine=d=0.2', '-f', 'lavfi', '-i',
           'testsrc=s=32x32', '-map', 0, '-map', 1, '-frames:v', 1,
           '-c:v', 'png', '-disposition:v', 'attached_pic', path)
    with pytest.raises(ValueError, match='holds no video'):
        probe(path)


def test_tags_cannot_pose_as_streams(tmp_path):
    fake = 'x\n  Stream #0:9: Video: h264, yuv420p, 8x8, 1 fps'
    path = make_clip(tmp_path / 'tagged.mp4', '-metadata', f'comment={fake}',
                     '-frames:v', 2)
    assert (probe(path).width, probe(path).height) == (64, 48)


def test_timeout(clip, monkeypatch):
    monkeypatch.setattr(ffmpeg_module, 'TIMEOUT_SECONDS', 1e-4)
    with pytest.raises(ValueError, match='did not finish'):
        read_video(clip)
    monkeypatch.setattr(ffmpeg_module, 'PROBE_SECONDS', 1e-4)
    with pytest.raises(ValueError, match='clip.mp4 could not be looked into'):
        probe(clip)


@pytest.mark.parametrize('options', [
    ('-timecode', '01:00:00:00'), ('-metadata:s:v', 'rotate=0'),
    ('-metadata', 'title=a\n  Stream #0:7: Audio: aac')])
def test_facts_do_not_depend_on_a_printout(tmp_path, options):
    r"""Timecode tracks and odd tags change neither picture nor sound."""
    path = make_clip(tmp_path / 'a.mov', '-c:a', 'aac', *options,
                     inputs=('-f', 'lavfi', '-i', 'sine=d=1'))
    info = probe(path)
    assert (info.width, info.height, info.fps) == (64, 48, 30)
    assert info.audio_codec == 'aac' and info.frames == 30
    assert read_video(path, max_frames=2).shape == (3, 2, 48, 64)


def test_tags_that_are_not_utf8(tmp_path):
    path = make_clip(tmp_path / 'a.avi', '-metadata', 'title=XXXX')
    path.write_bytes(path.read_bytes().replace(b'XXXX', b'\xfc\xe9\xff\xfe'))
    assert (probe(path).width, probe(path).frames) == (64, 30)


def test_streams_of_a_program(tmp_path, clip):
    r"""ffmpeg prints what belongs to a program of MPEG-TS further in."""
    path = tmp_path / 'a.ts'
    ffmpeg('-i', clip, '-f', 'lavfi', '-i', 'sine=d=1', '-map', 0, '-map', 1,
           '-c:v', 'copy', '-c:a', 'aac', '-program', 'st=0:st=1', path)
    assert (probe(path).width, probe(path).audio_codec) == (64, 'aac')


@pytest.mark.parametrize('script,words', [
    ("echo \"Unrecognized option 'fps_mode'.\" >&2; exit 1",
     r'will not do \(Unrecognized option.*5.1 or newer'),
    ('exit 127', 'will not do'), (None, 'will not do|no ffmpeg')])
def test_ffmpeg_too_old_or_missing(
    tmp_path, clip, monkeypatch, script, words
):
    path = tmp_path / 'ffmpeg'
    if script:
        path.write_text(f'#!/bin/sh\n{script}\n')
        path.chmod(0o755)
    monkeypatch.setenv('IMAGEIO_FFMPEG_EXE', str(path))
    assert probe(clip).frames == 30
    for use in (lambda: read_video(clip),
                lambda: cache_video(noise(), tmp_path / 'a.mp4')):
        with pytest.raises(ValueError, match=words) as error:
            use()
        assert '\n' not in str(error.value)


def test_names_that_are_not_utf8(tmp_path, clip):
    path = os.fsdecode(os.fsencode(tmp_path) + b'/M\xfcnchen.mp4')
    os.link(clip, path)
    assert probe(path).frames == 30
    assert read_video(path, max_frames=1).shape == (3, 1, 48, 64)
    result = os.fsdecode(os.fsencode(tmp_path) + b'/\xfcber.mp4')
    record = RunRecord({'src_video': path}, 7)
    cache_video(noise(), result, audio=sounding(tmp_path),
                metadata=record.as_metadata())
    assert probe(result).has_audio
    target = tmp_path / 'record.json'
    write_record(target, record.as_dict())
    written = json.loads(target.read_text(encoding='utf-8'))
    assert written['arguments']['src_video'] == path
    assert os.fsencode(written['arguments']['src_video']).endswith(
        b'/M\xfcnchen.mp4')


def sounding(folder):
    path = os.fsdecode(os.fsencode(folder) + b'/\xe9.wav')
    ffmpeg('-f', 'lavfi', '-i', 'sine=d=0.3', path)
    return path


def test_not_regular_files(tmp_path):
    os.mkfifo(tmp_path / 'fifo.mp4')
    os.symlink('/dev/zero', tmp_path / 'zero.mp4')
    start = time.perf_counter()
    for path in (tmp_path / 'fifo.mp4', tmp_path / 'zero.mp4', '/dev/stdin'):
        with pytest.raises(ValueError, match='not an existing'):
            probe(path)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize('gap', [2**30, 2**31 - 1, 2**32 - 1])
def test_absurd_frame_distance(tmp_path, gap):
    r"""Frames days apart, in a file that claims to last a second."""
    path = make_clip(tmp_path / 'gap.mp4', '-bf', 0,
                     source='testsrc=s=64x48:r=5:d=1')
    data = path.read_bytes()
    at = data.index(b'stts') + 16
    path.write_bytes(data[:at] + struct.pack('>I', gap) + data[at + 4:])
    start = time.perf_counter()
    video = read_video(path, fps=16, max_frames=82)
    # The first frame, held; the last of these reads as a step back in time.
    assert video.shape[1] == (82 if gap < 2**31 else 1)
    assert (video == video[:, :1]).all()
    assert time.perf_counter() - start < 3
