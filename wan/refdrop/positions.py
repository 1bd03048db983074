r"""Where photo and video stand in RoPE when the one attends to the other.

The reference branch is a softmax of its own, so its queries and keys may be
rotated otherwise than the self-attention's. Axes are (frame, row, column).

- grid: the photo is frame 0 of the video's grid; queries keep their place.
- spatial: rows and columns only; every frame sees the photo alike.
- none: nothing is rotated; matching is by content alone.
- offset: the photo lies beyond the video's last row and column.
- tail: the photo is the frame behind the video's last one, the next photo the
  frame behind that; rows and columns are its own.
- box: each frame's product box is laid over the photo's product box.
"""
from typing import NamedTuple

import torch

from ..modules.rope import rotation_at


class Placement(NamedTuple):
    r"""Rotations of queries [1, L, 1, D/2] and keys [1, Lr, 1, D/2].

    A query rotation of None keeps the video's own.
    """
    query: torch.Tensor | None
    key: torch.Tensor

    def to(self, device: torch.device | str) -> 'Placement':
        query = None if self.query is None else self.query.to(device)
        return Placement(query, self.key.to(device))


def grid_positions(grid: tuple[int, int, int]) -> torch.Tensor:
    r"""[f * h * w, 3] in the order of the model's tokens."""
    return torch.cartesian_prod(
        *(torch.arange(n, dtype=torch.float64) for n in grid))


def place(
    mode: str,
    video: tuple[int, int, int],
    photo: tuple[int, int, int],
    head_dim: int,
    video_boxes: torch.Tensor | None = None,
    photo_box: torch.Tensor | None = None,
    before: int = 0,
) -> Placement:
    r"""The rotations of a mode.

    Args:
        mode: one of the names above.
        video, photo: token grids (frames, rows, columns).
        head_dim: channels of a head.
        video_boxes: [frames, 4], the product in each frame as top, left,
            bottom, right in tokens; only for 'box'.
        photo_box: [4], the product in the photo.
        before: frames of other photos between video and photo, for 'tail'.

    Raises:
        ValueError: 'box' without boxes.
    """
    query, key = grid_positions(video), grid_positions(photo)
    if mode == 'grid':
        return Placement(None, rotation_at(key, head_dim))
    if mode == 'offset':
        key[:, 1] += video[1]
        key[:, 2] += video[2]
        return Placement(None, rotation_at(key, head_dim))
    if mode == 'tail':
        key[:, 0] += video[0] + before
        return Placement(None, rotation_at(key, head_dim))
    if mode == 'none':
        query, key = torch.zeros_like(query), torch.zeros_like(key)
    elif mode == 'spatial':
        query[:, 0] = key[:, 0] = 0
    elif mode == 'box':
        if video_boxes is None or photo_box is None:
            raise ValueError(
                "ref_rope 'box' needs the product's box in video and photo: "
                'switch the masks on.')
        query = _into_box(query, video_boxes, photo_box)
    else:
        raise ValueError(f'Unknown ref_rope {mode!r}.')
    return Placement(
        rotation_at(query, head_dim), rotation_at(key, head_dim))


def _into_box(query, video_boxes, photo_box):
    r"""Rows and columns of each frame's box mapped to the photo's box."""
    boxes = video_boxes.double().cpu()[query[:, 0].long()]
    photo_box = photo_box.double().cpu()
    corner, extent = boxes[:, :2], (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    scale = (photo_box[2:] - photo_box[:2]) / extent
    # Token i covers [i, i + 1): centres are mapped, not corners.
    inside = (query[:, 1:] + .5 - corner) * scale + photo_box[:2] - .5
    return torch.cat([torch.zeros_like(query[:, :1]), inside], dim=1)
