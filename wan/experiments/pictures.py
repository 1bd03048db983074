r"""Small copies of pictures, and of a video's frame, inside a page."""
import base64
import functools
import io
from pathlib import Path

from PIL import Image

from ..footage import Footage
from ..utils.image import on_white, read_image, to_bytes, unit_range

# A hundred sheets of this width and quality come to a few megabytes.
WIDTH, QUALITY = 900, 70
STILL_WIDTH = 480
# All of the largest batch: the page is written after each.
MOST = 10_000


@functools.lru_cache(maxsize=MOST)
def picture_uri(path: Path, changed: int, width: int = WIDTH) -> str:
    r"""A small copy of a picture as a data URI.

    Args:
        changed: the time of its last change, which makes it a new entry.

    Raises:
        ValueError: not a readable picture.
    """
    return _uri(on_white(read_image(path)), width)


@functools.lru_cache(maxsize=MOST)
def still_uri(path: Path, changed: int) -> str:
    r"""The same of a frame in the middle of a video.

    Raises:
        ValueError: not a readable video.
    """
    footage = Footage.open(path)
    frame = next(footage.shown([len(footage.times) // 2]))
    return _uri(Image.fromarray(
        to_bytes(unit_range(frame, (-1, 1)), True)), STILL_WIDTH)


def _uri(image: Image.Image, width: int) -> str:
    image.thumbnail((width, 4 * width))
    stream = io.BytesIO()
    image.save(stream, 'WEBP', quality=QUALITY)
    text = base64.b64encode(stream.getvalue()).decode()
    return f'data:image/webp;base64,{text}'
