r"""The sound of a file, held in memory until there is a video to put it in."""
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wan.utils.ffmpeg import input_args, read_facts, run_ffmpeg, stderr_text

PLAYABLE_AUDIO = ('aac', 'mp3')  # ffmpeg would copy others that few play
ENCODED = ('-af', 'atrim=start=0', '-c:a', 'aac')

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sound:
    r"""A track as an mp4 file, with the video's time zero.

    The edit list of the file says what comes before, or how long is silence.
    """
    data: bytes
    codec: str


def read_sound(path: str | Path, seconds: float) -> Sound | None:
    r"""The sound that belongs to the first pictures of a file.

    The default track counts if there are several. It is copied if players
    know its codec, else encoded as AAC. Time zero is the file's first
    picture; where it shows none, its first sound.

    Args:
        seconds: how much of it, from time zero on.

    Returns:
        None if it cannot be decoded, or none of it sounds in these seconds;
        `probe` has a note on the former, the log on both.

    Raises:
        ValueError: not an existing, readable file, or one without sound.
    """
    facts = read_facts(path)
    if not facts['audio']:
        raise ValueError(f'{path} holds no audio.')
    codec, fault = facts['audio']['codec'], facts['audio']['fault']
    ways = [ENCODED, (*ENCODED, '-ac', '2')]
    if codec in PLAYABLE_AUDIO:
        ways.insert(0, ('-c:a', 'copy'))
    for way in ways if fault is None else ():
        try:
            return _extracted(path, facts, seconds, way)
        except (OSError, ValueError) as error:
            logger.info('Reading the sound of %s with %s failed: %s', path,
                        ' '.join(way), error)
            fault = error
    logger.warning('The sound of %s is left out: %s.', path, fault)
    return None


def _extracted(path, facts, seconds, way) -> Sound:
    r"""`-copyts` keeps ffmpeg from moving the sound's time on its own."""
    audio = facts['audio']
    zero = (facts['video'] or audio).get('start', 0)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, 'sound.mp4')
        result = run_ffmpeg([
            '-copyts', '-itsoffset', f'{-zero:.6f}', *input_args(path), '-map',
            f'0:{audio["index"]}', *way, '-t', f'{seconds:.6f}',
            str(target)])
        if result.returncode:
            raise OSError(stderr_text(result).strip().replace('\n', ' | '))
        found = read_facts(target)['audio']
        if not found or found['fault']:
            raise OSError(f'nothing sounds in the first {seconds:.2f} seconds')
        return Sound(target.read_bytes(), found['codec'])
