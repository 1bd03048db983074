r"""From RGB to the samples of planes."""
import numpy as np

from wan.footage.pixels import Pixels

# Weights of red and blue in luma, by H.273's number or ffmpeg's name.
LUMA = {
    1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114),
    6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
LUMA |= {'bt709': LUMA[1], 'bt601': LUMA[5], 'bt2020': LUMA[9]}


def coded(
    rgb: np.ndarray, pixels: Pixels, matrix: int | str,
) -> list[np.ndarray]:
    r"""Colours as values of luma and chroma, not rounded.

    Args:
        rgb: [H, W, 3] in [0, 1], as coded. The size is any; its first pixel
            is the first of a sample of chroma.
        pixels: the format; its size does not count.
        matrix: a key of `LUMA`.

    Returns:
        float32 [H, W] and, for each sample of chroma that the picture
        touches, two planes.
    """
    red, blue = LUMA[matrix]
    rgb = np.asarray(rgb, np.float32)
    luma = rgb @ np.array([red, 1 - red - blue, blue], np.float32)
    planes = [luma]
    for channel, weight in ((2, blue), (0, red)):
        planes.append(subsampled(
            (rgb[..., channel] - luma) / np.float32(2 * (1 - weight)), pixels))
    for i, plane in enumerate(planes):
        zero, span = pixels.levels(i)
        planes[i] = plane * np.float32(span) + np.float32(zero)
    return planes


def subsampled(plane: np.ndarray, pixels: Pixels) -> np.ndarray:
    r"""One value for each sample of chroma, [H, W] -> [ceil, ceil].

    Of two columns it lies on the first, as most video has it, and is their
    mean weighed 1, 2, 1 with the neighbour before; else the mean.
    """
    across, down = 1 << pixels.sx, 1 << pixels.sy
    plane = padded(plane, pixels, 'edge')
    if down > 1:
        plane = plane.reshape(-1, down, plane.shape[1]).mean(1)
    if across == 2:
        first, second = plane[:, ::2], plane[:, 1::2]
        before = np.concatenate([first[:, :1], second[:, :-1]], 1)
        return (before + 2 * first + second) / 4
    if across > 2:
        plane = plane.reshape(len(plane), -1, across).mean(2)
    return plane


def padded(plane: np.ndarray, pixels: Pixels, mode: str) -> np.ndarray:
    r"""Rows and columns added until the last sample of chroma is whole."""
    across, down = 1 << pixels.sx, 1 << pixels.sy
    height, width = plane.shape
    if height % down or width % across:
        plane = np.pad(plane, ((0, -height % down), (0, -width % across)),
                       mode=mode)
    return plane


def touched(mask: np.ndarray, pixels: Pixels, every: bool) -> np.ndarray:
    r"""Whether some, or `every`, pixel of a sample of chroma is in a mask."""
    across, down = 1 << pixels.sx, 1 << pixels.sy
    mask = padded(mask, pixels, 'edge')
    blocks = mask.reshape(
        len(mask) // down, down, mask.shape[1] // across, across)
    return blocks.all((1, 3)) if every else blocks.any((1, 3))
