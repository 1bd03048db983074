r"""Pictures as VACE reads them: in a size of their own, or inside a frame."""
import torch
import torch.nn.functional as F
from PIL import Image

from wan.utils.image import as_clip, on_white, read_image
from wan.utils.vace_frames import cells_in, shaped

# Frames, rows and columns of one token of Wan2.1.
DOWNSAMPLE = (4, 16, 16)


class VaceImageProcessor:
    r"""Reads pictures in a size that fits a number of tokens."""

    def __init__(
        self,
        downsample: tuple[int, int, int] | None = None,
        seq_len: int | None = None,
    ):
        r"""Say how large a picture may become.

        Args:
            downsample: frames, rows and columns of one token; None is that
                of Wan2.1.
            seq_len: most tokens of a picture; None is without a limit.
        """
        self.downsample = downsample or DOWNSAMPLE
        self.seq_len = seq_len

    def load_image(
        self, data_key: str
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        r"""([3, 1, H, W] in [-1, 1], (H, W))."""
        return self.load_image_batch(data_key)

    def load_image_pair(
        self, data_key: str, data_key2: str
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
        r"""Two pictures in the first one's size; see `load_image`."""
        return self.load_image_batch(data_key, data_key2)

    def load_image_batch(
        self, *data_key_batch: str, seq_len: int | None = None
    ) -> tuple:
        r"""Pictures in the size of the first, and that size.

        Args:
            seq_len: in place of the processor's own.

        Returns:
            [3, 1, H, W] in [-1, 1] each, then (H, W).

        Raises:
            ValueError: an unreadable file, or too small a picture.
        """
        images = [on_white(read_image(path)) for path in data_key_batch]
        try:
            size = self.size(
                images[0].height, images[0].width, seq_len)
        except ValueError as error:
            raise ValueError(f'{data_key_batch[0]}: {error}.') from error
        return (*(self._resize_crop(image, *size) for image in images), size)

    def size(
        self, height: int, width: int, seq_len: int | None = None
    ) -> tuple[int, int]:
        r"""(H, W) a picture is brought to; see `load_image_batch`.

        Raises:
            ValueError: it is smaller than a token.
        """
        cell = self.downsample[1:]
        most = seq_len or self.seq_len or height * width
        return shaped(
            height, width, cells_in(height, width, most, cell), cell)

    @staticmethod
    def _resize_crop(image: Image.Image, oh: int, ow: int) -> torch.Tensor:
        r"""[3, 1, oh, ow] in [-1, 1], evenly cropped."""
        scale = max(ow / image.width, oh / image.height)
        image = image.resize(
            (round(scale * image.width), round(scale * image.height)),
            Image.Resampling.LANCZOS)
        left, top = (image.width - ow) // 2, (image.height - oh) // 2
        return as_clip(image.crop((left, top, left + ow, top + oh)))


def fitted_reference(
    image: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    r"""An image fitted inside the frame, on white.

    Args:
        image: [3, 1, h, w] in [-1, 1].
        size: (width, height) of the frame.

    Returns:
        [3, 1, height, width]; the image itself if it has that size.
    """
    width, height = size
    if image.shape[-2:] == (height, width):
        return image
    factor = min(height / image.size(-2), width / image.size(-1))
    inner = [max(1, int(side * factor)) for side in image.shape[-2:]]
    fitted = F.interpolate(
        image[:, 0][None], inner, mode='bilinear', align_corners=False)[0]
    top, left = ((whole - part) // 2 for whole, part in zip(
        (height, width), inner, strict=True))
    canvas = torch.ones(3, 1, height, width).to(image)
    canvas[:, 0, top:top + inner[0], left:left + inner[1]] = fitted
    return canvas
