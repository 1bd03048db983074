r"""Images as tensors."""
import torch
from PIL import Image
from torch import Tensor


def photo_pixels(photo: Image.Image) -> Tensor:
    r"""An image as a clip of one frame, [3, 1, H, W] in [-1, 1]."""
    data = torch.frombuffer(
        bytearray(photo.convert('RGB').tobytes()), dtype=torch.uint8)
    pixels = data.view(1, photo.height, photo.width, 3).permute(3, 0, 1, 2)
    return pixels.float() / 127.5 - 1
