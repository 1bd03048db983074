r"""ffmpeg and its libraries, on files from strangers.

Only the local file itself is opened, only as one of the containers listed
here, by a process of its own; the pixels of a frame and the time taken are
bounded. What a file holds is asked of PyAV, whose answers do not depend on
the ffmpeg installed; frames are read and written by the ffmpeg binary that
imageio-ffmpeg brings or `IMAGEIO_FFMPEG_EXE` names.
"""
import io
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import imageio_ffmpeg

MAX_PIXELS = 2**26  # of a frame as stored; 8K has half of it
TIMEOUT_SECONDS = 600.0
PROBE_SECONDS = 30.0

# Demuxers that read one file and never the names of others that it holds.
CONTAINERS = (
    'mov', 'mp4', 'matroska', 'webm', 'avi', 'mpegts', 'mpeg', 'flv', 'asf',
    'ogg', 'gif', 'apng', 'mxf', 'nut', 'ivf', 'h264', 'hevc', 'av1', 'dv',
    'mjpeg', 'm4v', 'mpegvideo', 'yuv4mpegpipe', 'swf', 'rm', 'wtv',
    'mp3', 'wav', 'flac', 'aac')

logger = logging.getLogger(__name__)


def ffmpeg_exe() -> str:
    r"""The ffmpeg to use.

    Raises:
        ValueError: there is none, or it lacks what is needed here.
    """
    try:
        path = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise ValueError(
            'There is no ffmpeg here: install imageio-ffmpeg with its binary, '
            'or name one in IMAGEIO_FFMPEG_EXE.') from error
    return _capable(path)


@lru_cache
def _capable(path: str) -> str:
    r"""`path`, after a tiny encoding has shown that it will do."""
    try:
        result = subprocess.run(
            [path, '-nostdin', '-v', 'error', '-f', 'lavfi', '-i',
             'color=s=16x16:r=8:d=0.25', '-fps_mode', 'passthrough', '-c:v',
             'libx264', '-f', 'null', '-'],
            stdin=subprocess.DEVNULL, capture_output=True,
            timeout=PROBE_SECONDS)
        said = None if result.returncode == 0 else reason(stderr_text(result))
    except (OSError, subprocess.TimeoutExpired) as error:
        said = type(error).__name__
    if said is not None:
        raise ValueError(
            f'The ffmpeg at {path} will not do ({said}): 5.1 or newer with '
            'libx264 is needed, as imageio-ffmpeg brings it if '
            'IMAGEIO_FFMPEG_EXE is not set.')
    return path


def run_ffmpeg(args: list[str]) -> subprocess.CompletedProcess:
    r"""Run ffmpeg to its end; stdout and stderr are bytes.

    Raises:
        ValueError: no usable ffmpeg, or it took longer than
            `TIMEOUT_SECONDS`.
    """
    command = [ffmpeg_exe(), '-hide_banner', '-nostdin', '-y', '-v', 'error',
               *args]
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError('ffmpeg did not finish in '
                         f'{TIMEOUT_SECONDS:.0f} seconds.') from None


def frame_stream(args: list[str], size: int) -> Iterator[bytes]:
    r"""What ffmpeg writes to its stdout, `size` bytes at a time.

    ffmpeg runs as far ahead as a pipe holds, and ends with the iteration.
    What it says of faults that it survived goes to the log.

    Args:
        args: with `pipe:1` as the output.

    Raises:
        ValueError: no usable ffmpeg, or it gave nothing new in
            `TIMEOUT_SECONDS`.
    """
    command = [ffmpeg_exe(), '-hide_banner', '-nostdin', '-v', 'error', *args]
    stalled = threading.Event()
    with tempfile.TemporaryFile() as log, subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=log, bufsize=0) as process:

        def stop():
            stalled.set()
            process.kill()

        pipe = io.BufferedReader(process.stdout, 2**20)
        try:
            while True:
                timer = threading.Timer(TIMEOUT_SECONDS, stop)
                timer.daemon = True
                timer.start()
                data = pipe.read(size)
                timer.cancel()
                if len(data) < size:
                    break
                yield data
        finally:
            process.kill()
        if stalled.is_set():
            raise ValueError('ffmpeg gave no frame in '
                             f'{TIMEOUT_SECONDS:.0f} seconds.')
        log.seek(0)
        said = log.read().decode(errors='replace')
        if said:
            logger.warning('ffmpeg said: %s', reason(said))


def input_args(path: str | Path) -> list[str]:
    r"""ffmpeg's arguments that open a stranger's file, whatever its name."""
    return [
        '-protocol_whitelist', 'file,pipe',
        '-format_whitelist', ','.join(CONTAINERS),
        '-max_pixels', str(MAX_PIXELS), '-i', f'file:{Path(path).absolute()}']


def stderr_text(result: subprocess.CompletedProcess) -> str:
    return result.stderr.decode(errors='replace')


def read_facts(path: str | Path) -> dict:
    r"""What a file holds, as `wan.utils.container.facts` tells it.

    Raises:
        ValueError: not an existing file that can be read, or reading its
            header takes longer than `PROBE_SECONDS`.
    """
    if not os.path.isfile(path):
        raise ValueError(f'{path} is not an existing file.')
    if os.path.getsize(path) == 0:
        raise ValueError(f'{path} is empty (0 bytes), a video is needed.')
    command = [
        sys.executable, str(Path(__file__).with_name('container.py')),
        str(Path(path).absolute()), ','.join(CONTAINERS), str(MAX_PIXELS)]
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True,
            timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        raise ValueError(f'{path} could not be looked into in '
                         f'{PROBE_SECONDS:.0f} seconds.') from None
    if result.returncode:
        # A crash of the reader is the file's fault, no PyAV is ours.
        if b'No module named' in result.stderr:
            raise ImportError(stderr_text(result).splitlines()[-1])
        facts = {'error': 'its reader failed with '
                          f'{result.returncode}'}
    else:
        facts = json.loads(result.stdout)
    if 'error' in facts:
        raise ValueError(
            f'{path} is not a readable video ({facts["error"]}); mp4, mov, '
            'mkv, webm, avi, gif and other containers of ffmpeg are.')
    return facts


def reason(log: str) -> str:
    r"""ffmpeg's own words for what is wrong, without its prefixes."""
    lines = [re.sub(r'^(\[[^]]*\] ?)+', '', line)
             for line in log.splitlines()]
    causes = [line for line in lines
              if line.strip() and not line.startswith(
                  ('Error ', '    Last message'))]
    cause = (causes or lines or ['no reason given'])[-1]
    return cause.removeprefix('Error opening input: ').split(" '")[0]
