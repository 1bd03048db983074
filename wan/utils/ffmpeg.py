r"""The ffmpeg binary that imageio-ffmpeg brings, on files from strangers.

Only the local file itself is opened, only as one of the containers listed
here, and the pixels of a frame and the time taken are bounded.
"""
import os
import re
import subprocess
from pathlib import Path

import imageio_ffmpeg

MAX_PIXELS = 2**26  # of a frame as stored; 8K has half of it
TIMEOUT_SECONDS = 600.0

# Demuxers that read one file and never the names of others that it holds.
CONTAINERS = (
    'mov', 'mp4', 'matroska', 'webm', 'avi', 'mpegts', 'mpeg', 'flv', 'asf',
    'ogg', 'gif', 'apng', 'mxf', 'nut', 'ivf', 'h264', 'hevc', 'av1', 'dv',
    'mjpeg', 'm4v', 'mpegvideo', 'yuv4mpegpipe', 'swf', 'rm', 'wtv',
    'mp3', 'wav', 'flac', 'aac')


def run_ffmpeg(
    args: list[str], level: str = 'error',
) -> subprocess.CompletedProcess:
    r"""Run ffmpeg to its end; stdout and stderr are bytes.

    Raises:
        ValueError: it took longer than `TIMEOUT_SECONDS`.
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), '-hide_banner', '-nostdin',
               '-y', '-v', level, *args]
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError('ffmpeg did not finish in '
                         f'{TIMEOUT_SECONDS:.0f} seconds.') from None


def input_args(path: str | Path) -> list[str]:
    r"""ffmpeg's arguments that open a stranger's file, whatever its name."""
    return [
        '-protocol_whitelist', 'file,pipe',
        '-format_whitelist', ','.join(CONTAINERS),
        '-max_pixels', str(MAX_PIXELS), '-i', f'file:{Path(path).absolute()}']


def stderr_text(result: subprocess.CompletedProcess) -> str:
    return result.stderr.decode(errors='replace')


def read_header(path: str | Path) -> str:
    r"""What ffmpeg says of a file without decoding it.

    Its stream lines have two leading spaces, which tags of the file, indented
    further, cannot imitate.

    Raises:
        ValueError: not an existing file that ffmpeg reads.
    """
    if not os.path.isfile(path):
        raise ValueError(f'{path} is not an existing file.')
    if os.path.getsize(path) == 0:
        raise ValueError(f'{path} is empty (0 bytes), a video is needed.')
    text = stderr_text(run_ffmpeg(input_args(path), level='info'))
    if not re.search(r'^Input #0, \S+, from', text, re.MULTILINE):
        raise ValueError(
            f'{path} is not a readable video ({reason(text)}); mp4, mov, mkv, '
            'webm, avi, gif and other containers of ffmpeg are.')
    return text


def reason(log: str) -> str:
    r"""ffmpeg's own words for what is wrong, without its prefixes."""
    lines = [re.sub(r'^(\[[^]]*\] ?)+', '', line)
             for line in log.splitlines() if line.startswith('[')]
    causes = [line for line in lines if not line.startswith('Error opening')]
    cause = (causes or lines or ['no reason given'])[-1]
    return cause.removeprefix('Error opening input: ').split(" '")[0]
