r"""The video put beside the template's own sound and subtitles."""
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wan.footage.footage import Footage
from wan.utils.ffmpeg import input_args, run_ffmpeg, stderr_text
from wan.utils.video_writer import CONTAINER, check_exit, ffmetadata

KINDS = {'audio': 'sound', 'subtitle': 'subtitles'}
# What is tried where copying does not work.
INSTEAD = {
    'audio': {suffix: 'aac' for suffix in ('.mp4', '.mov', '.mkv')},
    'subtitle': {'.mp4': 'mov_text', '.mov': 'mov_text', '.mkv': 'srt'},
}


@dataclass(frozen=True)
class Track:
    r"""A stream of the template's that goes along."""
    index: int
    kind: str
    coder: str = 'copy'


def tracks(
    footage: Footage, suffix: str,
) -> tuple[list[Track], list[str]]:
    r"""The sound and subtitles of a template that a container can hold.

    Each is copied; where that does not work, sound becomes AAC and subtitles
    the container's own text; where that does not either, it is left out.

    Args:
        suffix: of the file to be, such as `.mp4`.

    Returns:
        the tracks, and sentences on all that is not copied.
    """
    found, notes, others = [], [], 0
    for stream in footage.streams:
        kind = stream['kind']
        if kind not in KINDS:
            others += stream['index'] != footage.info.stream['index']
            continue
        words = f'The {KINDS[kind]} {stream["codec"]} of the template'
        for track in (Track(stream['index'], kind), Track(
                stream['index'], kind, INSTEAD[kind][suffix])):
            if stream['codec'] and _works(footage, track, suffix):
                found.append(track)
                break
        else:
            notes.append(f'{words} cannot be kept in {suffix} and is left '
                         'out.')
            continue
        if track.coder != 'copy':
            notes.append(f'{words} cannot be copied to {suffix}: it is '
                         f'stored as {track.coder}.')
    if others:
        notes.append(f'{others} other streams of the template (pictures, '
                     'data, further videos) are left out.')
    return found, notes


def _works(footage: Footage, track: Track, suffix: str) -> bool:
    r"""Whether the first second of a track can be written."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, f'trial{suffix}')
        result = run_ffmpeg([
            *input_args(footage.path), '-map', f'0:{track.index}', '-c',
            track.coder, *_strict(track), '-t', '1', str(target)])
        return result.returncode == 0


def _strict(track: Track) -> list[str]:
    return ['-strict', '-2'] if track.coder == 'copy' else []


def mux(
    path: str | Path,
    video: Path,
    target: Path,
    footage: Footage,
    start: int,
    kept: Sequence[Track],
    turn: tuple[bool, bool, bool],
    metadata: Mapping[str, str],
) -> None:
    r"""Write `target` of a video and the tracks of its template.

    Both keep the template's clock, so that they stay in step. It starts
    where the template's does, later than 0 in some containers; sound that
    begins before 0, as that of AAC does, stays there.

    Args:
        path: of the result, for messages.
        video: with its first frame at 0.
        start: which stored frame that is.
        turn: how it is to be shown, see `wan.utils.container`.

    Raises:
        OSError: ffmpeg failed.
    """
    first = float(footage.ticks[start] * footage.base)
    zero = _zero(footage)
    maps, coders = ['-map', '0:v'], ['-c:v', 'copy']
    for i, track in enumerate(kept):
        maps += ['-map', f'1:{track.index}']
        coders += [f'-c:{i + 1}', track.coder]
    with tempfile.TemporaryDirectory() as folder:
        tags = Path(folder, 'tags')
        tags.write_bytes(ffmetadata(metadata))
        inputs = ['-copyts', *_display(turn), '-itsoffset',
                  f'{first - zero:.6f}', *input_args(video)]
        if kept:
            inputs += ['-itsoffset', f'{-zero:.6f}',
                       *input_args(footage.path)]
        result = run_ffmpeg([
            *inputs, '-f', 'ffmetadata', '-i', str(tags), *maps,
            '-map_metadata', str(1 + bool(kept)), '-map_chapters',
            '1' if kept else '-1', *coders, '-strict', '-2',
            *CONTAINER, str(target.absolute())])
    check_exit(path, result.returncode, stderr_text(result))


def _zero(footage: Footage) -> float:
    r"""The time of the template's clock that becomes 0."""
    first = float(footage.ticks[0] * footage.base)
    return min(first, max(0., footage.start))


def _display(turn: tuple[bool, bool, bool]) -> list[str]:
    r"""ffmpeg's options for a matrix that shows a video so."""
    swap, flip_x, flip_y = turn
    if not any(turn):
        return []
    if swap:  # a quarter, of which y is reversed
        flip_y = not flip_y
    return ['-display_rotation', '90' if swap else '0',
            *(['-display_hflip'] if flip_x else []),
            *(['-display_vflip'] if flip_y else [])]
