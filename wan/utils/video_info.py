r"""What is known of a video before it is read, and how large it may be."""
from dataclasses import dataclass, field
from pathlib import Path

from wan.utils.ffmpeg import MAX_PIXELS

MAX_SECONDS = 6 * 3600
MAX_ASPECT = 10.0


@dataclass(frozen=True)
class VideoInfo:
    r"""What a video file holds.

    Attributes:
        width: pixels as shown, after rotation and in square pixels.
        height: pixels as shown.
        fps: average frames per second.
        duration: seconds of the longest stream; None if not declared.
        frames: estimated number of frames; None if not declared.
        audio_codec: codec of the sound that can be kept; None if there is
            none or it cannot be decoded.
        rotation: degrees, already applied in `width`, `height` and on reading.
        start: seconds at which the first picture is shown, in the file's time.
        has_alpha: it can have transparent parts.
        notes: sentences on what is read in another way than it is stored, or
            not at all.
        stream: facts of the picture, `wan.utils.container.facts`.
    """
    width: int
    height: int
    fps: float
    duration: float | None
    frames: int | None
    audio_codec: str | None
    rotation: float
    start: float = 0.0
    has_alpha: bool = False
    notes: tuple[str, ...] = ()
    stream: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def has_audio(self) -> bool:
        return self.audio_codec is not None


def check_size(path: str | Path, info: VideoInfo) -> None:
    r"""A ValueError if frames or length are beyond the limits."""
    shape = f'{info.width}x{info.height}'
    if info.width * info.height > MAX_PIXELS:
        raise ValueError(f'{path} has frames of {shape} pixels, at most '
                         f'{MAX_PIXELS} pixels are allowed.')
    if not 1 / MAX_ASPECT <= info.width / info.height <= MAX_ASPECT:
        raise ValueError(f'{path} has frames of {shape} pixels, one side may '
                         f'be at most {MAX_ASPECT:.0f} times the other.')
    if (info.duration or 0) > MAX_SECONDS:
        raise ValueError(f'{path} declares {info.duration:.0f} seconds, at '
                         f'most {MAX_SECONDS} are allowed.')
