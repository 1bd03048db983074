r"""What the model sees of a large template: a window around the product.

The window has the model's aspect and one size for the whole clip. It stands
still where it can and else follows the product smoothly, so that what the
model sees moves as a camera would.
"""
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .filters import blur
from .masks import boxes

Size = tuple[int, int]

# Pixels of the longer side of a mask that a window is laid around.
COARSE = 256

# The window is so many times as large as the largest box of the product, and
# never so small that the model would see it enlarged more than this.
CONTEXT, ENLARGED = 1.4, 2.0
# Room around the product on each side, as a share of its largest box: the new
# product may be larger, and the edge is feathered.
MARGIN = 0.15
# Share of the frame above which the product is seen in the whole frame.
LARGE = 0.5
# Standard deviation, as a share of the clip's frames, of the blur that makes
# the window's path smooth, and at most so many frames.
SMOOTH, LONGEST = 1 / 8, 24.


@dataclass(frozen=True)
class View:
    r"""A window over the frames of a clip.

    Args:
        frame: (width, height) of the template as shown.
        box: (width, height) of the window, in the same pixels.
        corners: for each frame left and top of the window, which may lie
            outside: what is beyond the frame is black.
        size: (width, height) that the model sees it in.
    """
    frame: Size
    box: Size
    corners: tuple[tuple[int, int], ...]
    size: Size

    @property
    def moves(self) -> bool:
        return len(set(self.corners)) > 1

    @property
    def share(self) -> float:
        r"""Of the frame that the window covers, at most 1."""
        return min(1., math.prod(self.box) / math.prod(self.frame))

    def take(
        self, picture: torch.Tensor, index: int, ground: float = -1.
    ) -> torch.Tensor:
        r"""The window of a frame, as the model sees it.

        Args:
            picture: [C, H, W] of the template's aspect, of any size: a mask
                may be coarser.
            index: of the frame.
            ground: value beyond the frame.

        Returns:
            [C, h, w] of `size`.
        """
        height, width = picture.shape[1:]
        scale = width / self.frame[0], height / self.frame[1]
        left, top = self.corners[index]
        start = [round(scale[0] * left), round(scale[1] * top)]
        stop = [max(begin + 1, round(s * (at + side))) for begin, s, at, side
                in zip(start, scale, (left, top), self.box, strict=True)]
        pads = (max(0, -start[0]), max(0, stop[0] - width),
                max(0, -start[1]), max(0, stop[1] - height))
        part = picture[:, max(0, start[1]):max(0, stop[1]),
                       max(0, start[0]):max(0, stop[0])]
        if any(pads):
            part = F.pad(part, pads, value=ground)
        return resized(part, self.size)

    def put(
        self, picture: torch.Tensor, index: int, size: Size,
        ground: float = 0.
    ) -> torch.Tensor:
        r"""The reverse of `take`: what the model sees, in the whole frame.

        Args:
            picture: [C, h, w] of `size`, of the window of a frame.
            index: of the frame.
            size: (width, height) wanted of the frame, of the template's
                aspect.
            ground: value outside of the window.

        Returns:
            [C, height, width].
        """
        scale = size[0] / self.frame[0], size[1] / self.frame[1]
        left, top = (round(s * at) for s, at in zip(
            scale, self.corners[index], strict=True))
        box = tuple(max(1, round(s * side)) for s, side in zip(
            scale, self.box, strict=True))
        part = resized(picture, box)[
            :, max(0, -top):size[1] - top, max(0, -left):size[0] - left]
        top, left = max(0, top), max(0, left)
        frame = picture.new_full((len(picture), size[1], size[0]), ground)
        frame[:, top:top + part.size(1), left:left + part.size(2)] = part
        return frame

    def padded(self, count: int) -> 'View':
        r"""Of a clip of `count` frames whose last is repeated."""
        more = count - len(self.corners)
        return View(self.frame, self.box,
                    self.corners + self.corners[-1:] * more, self.size)


def resized(picture: torch.Tensor, size: Size) -> torch.Tensor:
    r"""[C, H, W] in (width, height) pixels, within the values it had."""
    if picture.shape[1:] == size[::-1]:
        return picture
    low, high = picture.aminmax()
    return F.interpolate(
        picture[None], size[::-1], mode='bicubic', antialias=True
    )[0].clamp(low, high)


def whole(frame: Size, size: Size, count: int, pad: bool = False) -> View:
    r"""The whole frame as far as the model's aspect allows.

    Args:
        count: of frames.
        pad: all of it, with black beside it; else the middle of it.
    """
    width, height = frame
    aspect = size[0] / size[1]
    wide = (width / height > aspect) != pad
    box = (round(height * aspect), height) if wide \
        else (width, round(width / aspect))
    corner = (width - box[0]) // 2, (height - box[1]) // 2
    return View(frame, box, (corner,) * count, size)


def squeezed(frame: Size, size: Size, count: int) -> View:
    r"""All of the frame in the model's aspect, in which a product is looked
    for: black beside the frame would stand out more than the product does."""
    return View(frame, frame, ((0, 0),) * count, size)


def fixed(
    frame: Size, size: Size, count: int, box: Sequence[int]
) -> View:
    r"""A given window (x, y, width, height), widened to the model's aspect.

    Raises:
        ValueError: it is not inside the frame.
    """
    left, top, width, height = box
    if min(width, height) < 1 or min(left, top) < 0 \
            or left + width > frame[0] or top + height > frame[1]:
        raise ValueError(
            f'crop {",".join(map(str, box))} is not inside the template of '
            f'{frame[0]}x{frame[1]} pixels (x,y,width,height are needed).')
    return _still(frame, size, count, _of_aspect(width, height, size),
                  (left + width / 2, top + height / 2))


def coarse_size(size: Size) -> Size:
    r"""(width, height), the longer side `COARSE` pixels at most."""
    shrink = min(1., COARSE / max(size))
    return tuple(max(1, round(side * shrink)) for side in size)


def around(
    mask: torch.Tensor,
    frame: Size,
    size: Size,
    context: float = CONTEXT,
    enlarged: float = ENLARGED,
    margin: float = MARGIN,
) -> View:
    r"""A window around a product.

    Args:
        mask: [F, h, w] of the frame's aspect, 1 at the product; not empty.
        frame, size: see `View`.
        context, enlarged, margin: see `CONTEXT`, `ENLARGED` and `MARGIN`.
    """
    count, height, width = mask.shape
    mask = mask > 0.5
    ends = boxes(mask).float()[:, [1, 0, 3, 2]].unflatten(1, (2, 2))
    ends = ends * (torch.tensor(frame) / torch.tensor([width, height]))
    low, high = ends.unbind(1)  # [F, 2] each, x and y
    if mask.flatten(1).float().mean(1).max() > LARGE:
        return _largest(mask, low, high, frame, size)
    largest = (high - low).amax(0)
    room = margin * largest
    wanted = _of_aspect(*(context * largest).tolist(), size)
    wanted = tuple(max(side, least / enlarged) for side, least in zip(
        wanted, size, strict=True))
    union = high.amax(0) - low.amin(0) + 2 * room
    if (union <= torch.tensor(wanted)).all():
        centre = (high.amax(0) + low.amin(0)) / 2
        view = _still(frame, size, count, wanted, centre.tolist())
    else:
        view = _following(low, high, room, wanted, frame, size)
    return view if view.share < 1 and view.box[0] <= frame[0] \
        and view.box[1] <= frame[1] else _largest(
            mask, low, high, frame, size)


def _following(low, high, room, wanted, frame, size) -> View:
    r"""A window whose centre is the product's, smoothed; it is so large that
    the product never leaves it."""
    centre = blur(
        (low + high) / 2, min(SMOOTH * len(low), LONGEST), 0)
    reach = torch.maximum(high - centre, centre - low).amax(0) + room
    sides = torch.maximum(torch.tensor(wanted), 2 * reach)
    box = _rounded(_of_aspect(*sides.tolist(), size))
    return View(frame, box, tuple(
        _corner(at, box, frame) for at in centre.tolist()), size)


def _largest(mask, low, high, frame, size) -> View:
    r"""The whole frame; the part of it with the product, if that fits, which
    follows the product if it has to."""
    view = whole(frame, size, len(mask))
    height, width = mask.shape[1:]
    places = mask.any(0).nonzero()
    first, last = places.amin(0).flip(0), places.amax(0).flip(0) + 1
    scale = torch.tensor(frame) / torch.tensor([width, height])
    first, last = first * scale, last * scale
    if ((last - first) <= torch.tensor(view.box)).all():
        return _still(frame, size, len(mask), view.box,
                      ((first + last) / 2).tolist())
    for share in (SMOOTH, SMOOTH / 2, SMOOTH / 4, 0.):  # as steady as it goes
        centre = blur((low + high) / 2, min(share * len(low), LONGEST), 0)
        view = View(frame, view.box, tuple(
            _corner(at, view.box, frame) for at in centre.tolist()), size)
        start = torch.tensor(view.corners)
        if ((start <= low) & (high <= start + torch.tensor(view.box))).all():
            return view
    return whole(frame, size, len(mask), pad=True)


def _of_aspect(width: float, height: float, size: Size):
    r"""The smallest sides of the model's aspect that cover these."""
    height = max(height, width * size[1] / size[0])
    return height * size[0] / size[1], height


def _rounded(box) -> Size:
    return tuple(math.ceil(side - 1e-3) for side in box)


def _corner(centre, box: Size, frame: Size) -> tuple[int, int]:
    r"""Of a box around a centre, inside the frame if it fits."""
    return tuple(
        (whole - side) // 2 if side > whole
        else min(max(round(at - side / 2), 0), whole - side)
        for at, side, whole in zip(centre, box, frame, strict=True))


def _still(frame, size, count, box, centre) -> View:
    box = _rounded(box)
    return View(frame, box, (_corner(centre, box, frame),) * count, size)
