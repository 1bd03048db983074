r"""Files from strangers: odd names, what is not a video, huge claims."""
import os
import struct
import time

import pytest

from tests.utils.media import ffmpeg, make_clip
from wan.utils import ffmpeg as ffmpeg_module
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
        probe(clip)
