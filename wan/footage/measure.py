r"""What was changed, measured by decoding the file that was written."""
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from wan.footage.colours import touched
from wan.footage.patch import Box
from wan.footage.pixels import Pixels
from wan.utils.metrics import MAX_PSNR, ssim

HEAD = struct.Struct('<5I')
MOST_SSIM = 100  # frames, evenly spread


@dataclass(frozen=True)
class Changed:
    r"""How much of a template a written file has kept.

    The planes of the file are compared with those of the template in the
    file's own format, on the scale of 8 bits. `nan` stands for what was not
    measured, and for an outside that is empty.

    Attributes:
        share: of all pixels of all frames, those that a patch may change.
        psnr_outside: dB over luma and chroma of all others, at most 100.
        ssim_outside: of luma, on at most `MOST_SSIM` frames.
        largest_outside: difference, 0 to 255.
        notes: sentences on what is not as it was.
    """
    share: float
    psnr_outside: float = float('nan')
    ssim_outside: float = float('nan')
    largest_outside: float = float('nan')
    notes: tuple[str, ...] = field(default=())


class Boxes:
    r"""Where patches were laid, kept on disk: memory does not grow."""

    def __init__(self, pixels: Pixels):
        self._pixels = pixels
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, closed on exit
        self._count = self._changed = 0

    def add(self, box: Box | None) -> None:
        r"""That of the next frame, None for a frame without a patch."""
        self._count += 1
        if box is None:
            self._file.write(HEAD.pack(0, 0, 0, 0, 0))
            return
        self._changed += int(box.mask.sum())
        data = zlib.compress(np.packbits(box.mask).tobytes(), 1)
        self._file.write(HEAD.pack(
            box.top, box.left, *box.mask.shape, len(data)) + data)

    @property
    def share(self) -> float:
        return self._changed / max(
            1, self._count * self._pixels.width * self._pixels.height)

    def outside(self) -> Iterator[np.ndarray]:
        r"""For each frame [height, width], False where it may differ."""
        self._file.seek(0)
        while head := self._file.read(HEAD.size):
            top, left, height, width, size = HEAD.unpack(head)
            outside = np.ones(self._pixels.shapes[0], bool)
            if size:
                bits = np.frombuffer(zlib.decompress(
                    self._file.read(size)), np.uint8)
                outside[top:top + height, left:left + width] = ~np.unpackbits(
                    bits, count=height * width).reshape(
                        height, width).astype(bool)
            yield outside

    def __enter__(self) -> 'Boxes':
        return self

    def __exit__(self, *args) -> None:
        self._file.close()


def measure(
    results: Iterable[Sequence[np.ndarray]],
    templates: Iterable[Sequence[np.ndarray]],
    boxes: Boxes,
    pixels: Pixels,
    total: int,
) -> Iterator[Changed]:
    r"""Compare frame by frame; yields what is known after each.

    Args:
        results: planes of the written file.
        templates: the template's, in the same format.
        pixels: the format.
        total: number of frames.
    """
    scale = 2. ** (8 - pixels.depth)
    error = count = largest = alike = seen = 0.
    every = max(1, -(-total // MOST_SSIM))
    for i, (result, template, outside) in enumerate(zip(
            results, templates, boxes.outside(), strict=True)):
        chroma = touched(outside, pixels, every=True)
        for a, b, mask in zip(
                result, template, (outside, chroma, chroma), strict=True):
            off = np.abs(a.astype(np.int32) - b)[mask]
            if off.size:
                error += float(np.square(off, dtype=np.int64).sum())
                count += off.size
                largest = max(largest, float(off.max()))
        weight = int(outside.sum())
        if i % every == 0 and weight:
            a, b = (torch.from_numpy(planes[0].astype(np.float32)).mul_(
                scale / 127.5).sub_(1)[None, None]
                for planes in (result, template))
            alike += weight * ssim(a, b, torch.from_numpy(outside)[None])
            seen += weight
        yield _changed(boxes.share, error * scale**2, count, alike, seen,
                       largest * scale)


def _changed(share, error, count, alike, seen, largest) -> Changed:
    if not count:
        return Changed(share)
    mean = error / count
    psnr = min(MAX_PSNR, 10 * np.log10(255**2 / max(mean, 1e-30)))
    return Changed(share, float(psnr), alike / seen if seen else float('nan'),
                   largest)
