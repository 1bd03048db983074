r"""Sizes of pictures and numbers of frames that Qwen's vision models take."""
import math
from collections.abc import Mapping

IMAGE_FACTOR = 28  # pixels of a side of one token
MIN_PIXELS = 4 * 28**2
MAX_PIXELS = 16384 * 28**2
MAX_RATIO = 200

VIDEO_MIN_PIXELS = 128 * 28**2
VIDEO_MAX_PIXELS = 768 * 28**2
VIDEO_TOTAL_PIXELS = 24576 * 28**2
FRAME_FACTOR = 2
FPS = 2.0
FPS_MIN_FRAMES = 4
FPS_MAX_FRAMES = 768


def round_by_factor(number: float, factor: int) -> int:
    r"""The multiple of `factor` nearest to a number, of two the even one."""
    return round(number / factor) * factor


def ceil_by_factor(number: float, factor: int) -> int:
    r"""The smallest multiple of `factor` that is not below a number."""
    return math.ceil(number / factor) * factor


def floor_by_factor(number: float, factor: int) -> int:
    r"""The largest multiple of `factor` that is not above a number."""
    return math.floor(number / factor) * factor


def smart_resize(
    height: int, width: int, factor: int = IMAGE_FACTOR,
    min_pixels: int = MIN_PIXELS, max_pixels: int = MAX_PIXELS,
) -> tuple[int, int]:
    r"""The size near a picture's own that such a model takes.

    Args:
        height, width: of the picture.
        factor: that both sides are to be multiples of.
        min_pixels, max_pixels: between which their product is to be, the
            aspect kept as far as `factor` lets it.

    Returns:
        (height, width).

    Raises:
        ValueError: one side is more than `MAX_RATIO` times the other.
    """
    if max(height, width) > MAX_RATIO * min(height, width):
        raise ValueError(
            f'A picture has {width}x{height} pixels; one side may be at most '
            f'{MAX_RATIO} times the other.')
    sides = [max(factor, round_by_factor(side, factor))
             for side in (height, width)]
    # A quotient in one case, a product in the other: they round differently.
    if math.prod(sides) > max_pixels:
        ratio = math.sqrt(height * width / max_pixels)
        sides = [floor_by_factor(side / ratio, factor)
                 for side in (height, width)]
    elif math.prod(sides) < min_pixels:
        ratio = math.sqrt(min_pixels / (height * width))
        sides = [ceil_by_factor(side * ratio, factor)
                 for side in (height, width)]
    return sides[0], sides[1]


def smart_nframes(
    ele: Mapping[str, float], total_frames: int, video_fps: float
) -> int:
    r"""How many frames of a video such a model looks at.

    Args:
        ele: 'nframes', or else 'fps' (default 2), 'min_frames' (4) and
            'max_frames' (768, or as many as there are).
        total_frames: of the video.
        video_fps: of the video, frames a second.

    Returns:
        A multiple of `FRAME_FACTOR`.

    Raises:
        AssertionError: both nframes and fps are given; Wan2.1's own kind.
        ValueError: more frames than there are, or none.
    """
    if 'nframes' in ele and 'fps' in ele:
        raise AssertionError('nframes and fps are given: one is allowed.')
    if 'nframes' in ele:
        wanted = ele['nframes']
    else:
        least = ceil_by_factor(
            ele.get('min_frames', FPS_MIN_FRAMES), FRAME_FACTOR)
        most = floor_by_factor(
            ele.get('max_frames', min(FPS_MAX_FRAMES, total_frames)),
            FRAME_FACTOR)
        wanted = total_frames / video_fps * ele.get('fps', FPS)
        wanted = min(max(wanted, least), most)
    count = round_by_factor(wanted, FRAME_FACTOR)
    if not FRAME_FACTOR <= count <= total_frames:
        raise ValueError(
            f'{count} frames are asked for, allowed are {FRAME_FACTOR} to '
            f'{total_frames}.')
    return count
