r"""Reading videos: rotation, sizes, timestamps, limits."""
import time

import pytest
import torch

from tests.utils.media import ffmpeg, make_clip, ramp
from wan.utils.video import MAX_FRAMES, audio_codec, probe, read_video


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    r"""64x48, 30 fps, one second, with audio."""
    return make_clip(
        tmp_path_factory.mktemp('media') / 'clip.mp4', '-c:a', 'aac',
        inputs=('-f', 'lavfi', '-i', 'sine=d=1'))


def test_probe(clip):
    info = probe(clip)
    assert (info.width, info.height, info.fps) == (64, 48, 30.0)
    assert info.duration == pytest.approx(1, abs=0.03)
    assert info.frames == 30
    assert info.has_audio and info.audio_codec == audio_codec(clip) == 'aac'
    assert info.rotation == 0


def test_read_native_frames(clip):
    video = read_video(clip)
    assert video.shape == (3, 30, 48, 64) and video.dtype == torch.float32
    assert video.is_contiguous()
    assert -1 <= video.min() < -0.8 and 0.8 < video.max() <= 1
    torch.testing.assert_close(read_video(clip, max_frames=7), video[:, :7])


@pytest.mark.parametrize('angle', [90, 180, 270])
def test_rotation_is_applied(tmp_path, clip, angle):
    turned = tmp_path / 'turned.mp4'
    ffmpeg('-display_rotation', angle, '-i', clip, '-c', 'copy', turned)
    info = probe(turned)
    assert round(info.rotation) % 360 in (angle, 360 - angle)
    assert (info.width, info.height) == (
        (48, 64) if angle != 180 else (64, 48))
    upright = read_video(clip, max_frames=2)
    torch.testing.assert_close(
        read_video(turned, max_frames=2),
        torch.rot90(upright, angle // 90, (2, 3)), atol=0.3, rtol=0)


def test_odd_size(tmp_path):
    path = make_clip(tmp_path / 'odd.mp4', '-pix_fmt', 'yuv444p',
                     source='testsrc=s=37x23:r=8:d=0.5')
    assert (probe(path).width, probe(path).height) == (37, 23)
    assert read_video(path).shape == (3, 4, 23, 37)


def test_pixels_that_are_not_square(tmp_path, clip):
    wide = tmp_path / 'wide.mp4'
    ffmpeg('-i', clip, '-c', 'copy', '-aspect', '8:3', wide)
    assert (probe(wide).width, probe(wide).height) == (128, 48)
    assert read_video(wide, max_frames=1).shape == (3, 1, 48, 128)


@pytest.mark.parametrize('fps,count', [
    (16, 16), (10, 10), (60, 60), (24.5, 25)])
def test_resampled_in_time(tmp_path, fps, count):
    path = make_clip(tmp_path / 'ramp.mp4', '-crf', '0', source=ramp(1))
    grey = read_video(path, fps=fps).mean((0, 2, 3))
    assert len(grey) == count
    # Y = 16 + 200 t is (200 t) * 255 / 219 in full range.
    want = 200 * torch.arange(count) / fps / 219 * 2 - 1
    # half a source frame off at most, and two levels
    assert (grey - want).abs().max() < 200 / 60 / 219 * 2 + 2 / 127.5


def test_variable_frame_rate_keeps_its_speed(tmp_path):
    r"""30 fps, then 6 fps: time, not frame number, decides."""
    path = make_clip(
        tmp_path / 'vfr.mp4', '-crf', '0', '-vf',
        "select='lt(t,1)+not(mod(n,5))'", '-fps_mode', 'vfr', source=ramp(2))
    assert probe(path).fps < 29
    native = read_video(path)
    assert native.shape[1] == 36
    grey = read_video(path, fps=16).mean((0, 2, 3))
    assert len(grey) == 30  # the last frame starts at 11/6 s
    want = 100 * torch.arange(len(grey)) / 16 / 219 * 2 - 1
    error = (grey - want).abs()
    assert error[:16].max() < 100 / 60 / 219 * 2 + 2 / 127.5
    assert error.max() < 100 / 6 / 219 * 2 + 2 / 127.5


@pytest.mark.parametrize('rate', [5, 60])
def test_one_frame(tmp_path, rate):
    path = make_clip(tmp_path / 'one.mp4', '-frames:v', 1,
                     source=f'testsrc=s=32x32:r={rate}')
    assert read_video(path).shape[1] == 1
    assert read_video(path, fps=16).shape[1] >= 1
    assert read_video(path, fps=16, max_frames=1).shape == (3, 1, 32, 32)


def test_crop_covers_and_centres(tmp_path):
    r"""Left third red, middle green, right blue: a square crop sees green."""
    path = make_clip(
        tmp_path / 'bars.mp4', source='color=red:s=96x32:r=4:d=0.5,'
        'drawbox=x=32:w=32:c=lime:t=fill,drawbox=x=64:w=32:c=blue:t=fill')
    square = read_video(path, size=(32, 32))
    assert square.shape == (3, 2, 32, 32)
    inner = square[..., 4:-4].mean((1, 2, 3))
    assert inner[1] > 0.8 and inner[0] < -0.8 and inner[2] < -0.8


def test_pad_shows_everything(tmp_path):
    path = make_clip(tmp_path / 'white.mp4',
                     source='color=white:s=96x32:r=4:d=0.5')
    square = read_video(path, size=(96, 96), fit='pad')
    rows = square.mean((0, 1, 3))
    assert (rows[:32] < -0.95).all() and (rows[64:] < -0.95).all()
    assert (rows[34:62] > 0.95).all()


def test_downscaling_antialiases(tmp_path):
    r"""One-pixel stripes become grey, not moire."""
    path = make_clip(
        tmp_path / 'stripes.mp4', '-crf', '0',
        source="color=s=128x128:r=4:d=0.25,geq=lum='255*mod(X,2)':cb=128:cr=128"
    )
    small = read_video(path, size=(24, 24))[..., 2:-2]
    assert small.std() < 0.06


def test_long_clip_is_not_decoded_whole(tmp_path):
    r"""10,000 frames declared, 81 wanted: as quick as a short clip."""
    short = make_clip(tmp_path / 'short.mp4', '-g', 25,
                      source='testsrc=s=32x32:r=25:d=4')
    path = tmp_path / 'long.mp4'
    ffmpeg('-stream_loop', 99, '-i', short, '-c', 'copy', path)
    assert probe(path).frames == pytest.approx(10_000, rel=0.01)
    start = time.perf_counter()
    assert read_video(path, fps=16, max_frames=81).shape[1] == 81
    assert time.perf_counter() - start < 2
    with pytest.raises(ValueError, match=f'10000 frames, at most {MAX_FRAMES}'):
        read_video(path)


@pytest.mark.parametrize('where', ['index', 'data'])
def test_truncated(tmp_path, clip, where):
    r"""Cut before its index, or with the index in front within its data."""
    path = tmp_path / 'cut.mp4'
    if where == 'data':
        ffmpeg('-i', clip, '-c', 'copy', '-movflags', 'faststart', path)
        data = path.read_bytes()
    else:
        data = clip.read_bytes()
    path.write_bytes(data[:len(data) * 6 // 10])
    with pytest.raises(ValueError, match='readable video|cut short'):
        read_video(path)


def test_faults_that_lose_nothing_are_survived(tmp_path, clip, caplog):
    path = tmp_path / 'cut.mp4'
    ffmpeg('-i', clip, '-c', 'copy', '-movflags', 'faststart', path)
    path.write_bytes(path.read_bytes()[:-40])
    assert read_video(path).shape[1] >= 29


@pytest.mark.parametrize('request_,words', [
    ({'size': (0, 10)}, 'size 0x10'),
    ({'size': (60000, 60000)}, 'size 60000x60000'),
    ({'fps': 0}, 'fps must be positive'),
    ({'fps': float('nan')}, 'fps must be positive'),
    ({'max_frames': 0}, 'max_frames'),
    ({'max_frames': MAX_FRAMES + 1}, 'max_frames'),
    ({'fit': 'stretch'}, "'crop' or 'pad', not 'stretch'"),
])
def test_bad_requests(clip, request_, words):
    with pytest.raises(ValueError, match=words):
        read_video(clip, **request_)


def test_extreme_aspect(tmp_path):
    path = make_clip(tmp_path / 'strip.mp4', '-frames:v', 1,
                     source='testsrc=s=352x32:r=4')
    with pytest.raises(ValueError, match='at most 10 times the other'):
        probe(path)
