r"""Writing mp4 files: streamed to ffmpeg, verified, then moved into place."""
import math
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from wan.utils.ffmpeg import (
    TIMEOUT_SECONDS,
    ffmpeg_exe,
    input_args,
    read_facts,
    run_ffmpeg,
    stderr_text,
)
from wan.utils.record import atomic_write
from wan.utils.sound import Sound, read_sound
from wan.utils.video import read_video
from wan.utils.video_filters import SCALE_FLAGS

VIDEO_SUFFIXES = ('.mp4', '.mov', '.mkv')
# imageio's quality 8, upstream's setting, is crf int((1 - 0.8) * 51) = 10 with
# x264's defaults. The colours are tagged: players guess at untagged ones.
ENCODER = (
    '-c:v', 'libx264', '-crf', '10', '-pix_fmt', 'yuv420p', '-vf',
    f'scale=out_color_matrix=bt709:out_range=tv:flags={SCALE_FLAGS},'
    'format=yuv420p,setparams=range=tv:colorspace=bt709'
    ':color_primaries=bt709:color_trc=bt709')
CONTAINER = ('-movflags', '+faststart+use_metadata_tags')


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    metadata: Mapping[str, str] | None = None,
    audio: str | Path | Sound | None = None,
) -> Path:
    r"""Encode frames as they come; `path` appears only when all went well.

    Args:
        path: target ending in one of `VIDEO_SUFFIXES`; its folder is made.
        frames: uint8 [H, W, 3], all of one size. yuv420p needs even sides: an
            odd one gets its last row or column twice.
        fps: frames per second.
        metadata: tags written into the file, such as `comment`; any length.
        audio: what `read_sound` gave, or the file to read it from, as long
            as the video; sound that cannot be read is left out with a warning.

    Raises:
        ValueError: no or unequal frames, a wrong suffix, rate or audio file,
            or no usable ffmpeg.
        OSError: encoding or writing failed; the message has ffmpeg's words.
    """
    path = Path(path)
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise ValueError(f'{path} must end in one of '
                         f'{", ".join(VIDEO_SUFFIXES)}.')
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f'fps must be positive, not {fps}.')
    ffmpeg_exe()
    if isinstance(audio, str | Path) and not read_facts(audio)['audio']:
        raise ValueError(f'{audio} holds no audio.')
    with atomic_write(path) as temporary:
        count = _encode(path, temporary, frames, fps, metadata or {})
        if isinstance(audio, str | Path):
            audio = read_sound(audio, count / fps)
        if audio is not None:
            _add_audio(path, temporary, audio)
        _verify(path, temporary)
    return path


def _encode(path, temporary, frames, fps, metadata) -> int:
    r"""Stream the frames into `temporary`; returns how many there were."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError(f'Cannot write {path}: there are no frames.')
    height, width = (side + side % 2 for side in first.shape[:2])
    command = [
        ffmpeg_exe(), '-hide_banner', '-y', '-v', 'error', '-f', 'rawvideo',
        '-pix_fmt', 'rgb24', '-s', f'{width}x{height}', '-framerate',
        str(fps), '-i', 'pipe:0']
    with (tempfile.TemporaryFile() as log,
          tempfile.TemporaryDirectory() as folder):
        tags = Path(folder, 'tags')  # an argument holds at most 128 KiB
        tags.write_bytes(ffmetadata(metadata))
        process = subprocess.Popen(
            [*command, '-f', 'ffmetadata', '-i', str(tags), '-map', '0',
             '-map_metadata', '1', *ENCODER, *CONTAINER,
             str(temporary.absolute())],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
        try:
            count = _feed(process.stdin, first, frames)
            code = process.wait(TIMEOUT_SECONDS)
        except BrokenPipeError:  # ffmpeg gave up and says why in the log
            count, code = 0, process.wait(TIMEOUT_SECONDS) or 1
        finally:
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
        log.seek(0)
        check_exit(path, code, log.read().decode(errors='replace'))
    return count


def _feed(pipe, first, rest) -> int:
    count = 0
    for frame in (item for items in ((first,), rest) for item in items):
        if frame.shape != first.shape or frame.dtype != np.uint8:
            raise ValueError(f'Frame {count} is {frame.dtype} '
                             f'{tuple(frame.shape)}, not uint8 '
                             f'{tuple(first.shape)} like the first.')
        height, width = frame.shape[:2]
        even = ((0, height % 2), (0, width % 2), (0, 0))
        pipe.write(np.pad(frame, even, mode='edge').tobytes())
        count += 1
    pipe.close()
    return count


def ffmetadata(metadata: Mapping[str, str]) -> bytes:
    r"""Metadata in ffmpeg's notation."""
    def escaped(text):
        return re.sub(r'([=;#\\\n])', r'\\\1', text)

    lines = [';FFMETADATA1', *(
        f'{escaped(k)}={escaped(v)}' for k, v in metadata.items())]
    return '\n'.join(lines).encode('utf-8', 'backslashreplace') + b'\n'


def _add_audio(path, temporary, sound: Sound) -> None:
    r"""Replace the silent `temporary` by one with the sound beside it."""
    with tempfile.TemporaryDirectory() as folder, \
            atomic_write(temporary) as muxed:
        source = Path(folder, 'sound.mp4')
        source.write_bytes(sound.data)
        result = run_ffmpeg([
            *input_args(temporary), '-copyts', *input_args(source), '-map',
            '0:v', '-map', '1:a', '-c', 'copy', *CONTAINER,
            str(muxed.absolute())])
        check_exit(path, result.returncode, stderr_text(result))


def check_exit(path: str | Path, code: int, log: str) -> None:
    r"""An OSError with ffmpeg's words if its exit code is not 0."""
    if code:
        said = ' | '.join(log.strip().splitlines()[-5:]) or 'nothing'
        raise OSError(f'Could not write {path}: ffmpeg ended with {code} and '
                      f'said: {said}')


def _verify(path, temporary) -> None:
    try:
        read_video(temporary, max_frames=1)
    except ValueError as error:
        raise OSError(f'Could not write {path}: the first frame does not '
                      f'decode ({error})') from error
