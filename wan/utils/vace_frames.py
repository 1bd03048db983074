r"""What of a video VACE reads: which frames, in which shape."""
import math
from collections.abc import Sequence
from typing import NamedTuple

from wan.utils.mask_file import is_still, shown_size
from wan.utils.video import MAX_FRAMES, probe, read_video

# By so much may a mask's aspect differ from its video's.
ROUNDING = 0.02
# Seconds by which a mask may be longer: containers round.
SLACK = 0.5


class Choice(NamedTuple):
    r"""What is read of a video.

    Args:
        frame_ids: numbers of the stored frames.
        box: (x1, x2, y1, y2), the part of each picture.
        oh, ow: height and width that part is brought to.
        fps: rate at which these frames follow each other in the video.
        count: frames that the video has.
    """
    frame_ids: tuple[int, ...]
    box: tuple[int, int, int, int]
    oh: int
    ow: int
    fps: float
    count: int


def cells_in(
    height: int, width: int, most: int, cell: Sequence[int]
) -> int:
    r"""Whole cells of a picture, at most `most`: it is never enlarged."""
    cells = (height // cell[0]) * (width // cell[1])
    if not cells:
        raise ValueError(
            f'a picture of {width}x{height} pixels is too small, at least '
            f'{cell[1]}x{cell[0]} are needed')
    return min(cells, most)


def shaped(
    height: int, width: int, cells: int, cell: Sequence[int]
) -> tuple[int, int]:
    r"""(H, W) of a picture's shape, in whole cells, about so many."""
    rows = max(1, round(math.sqrt(cells * height / width)))
    return rows * cell[0], max(1, cells // rows) * cell[1]


def frame_count(path: str) -> int:
    r"""How many frames a video has; all are decoded for it.

    Raises:
        ValueError: as of `read_video`, or there are too many.
    """
    count = read_video(path, (2, 2)).size(1)
    if count >= MAX_FRAMES:
        raise ValueError(
            f'{path} has {MAX_FRAMES} frames or more, fewer are needed.')
    return count


def check_mask(video: str, mask: str, count: int) -> None:
    r"""Check that a mask is of a video's shape, and as long."""
    info, (width, height) = probe(video), shown_size(mask)
    ratio = width / height * info.height / info.width
    if max(ratio, 1 / ratio) > 1 + ROUNDING:
        raise ValueError(
            f'src_mask {mask} has {width}x{height} pixels, another shape than '
            f'src_video with {info.width}x{info.height}.')
    if is_still(mask):
        return
    length = frame_count(mask)
    if not count <= length <= count + SLACK * info.fps:
        raise ValueError(
            f'src_mask {mask} has {length} frames, src_video {count}: it must '
            f'have a mask for each, or be one picture for all.')
