r"""The photo pasted over the old product: an edit without a model."""
import torch
import torch.nn.functional as F

from .filters import blur, dilate
from .masks import boxes

# In pixels: how far the old product's edge and shadow reach beyond its mask,
# and the blur that carries the surroundings into the hole.
EDGE, SPREAD = 4, 10.


def collage(
    video: torch.Tensor,
    mask: torch.Tensor,
    photo: torch.Tensor,
    alpha: torch.Tensor,
) -> torch.Tensor:
    r"""The template with the photo's product in place of its own.

    In each frame the surroundings are spread over the old product, and the
    new one is laid into the old one's box: upright as in the photo, centred,
    its own box of the same area. It is neither turned nor lit.

    Args:
        video: the template, [3, F, H, W] in [-1, 1].
        mask: [F, H, W] in [0, 1], the old product.
        photo, alpha: [3, 1, h, w] in [-1, 1] and [1, h, w] in [0, 1], as from
            `Product.fitted`.

    Returns:
        [3, F, H, W] in [-1, 1].
    """
    rows, columns = (
        (alpha[0] > 0.5).any(axis).nonzero().flatten() for axis in (1, 0))
    product = torch.cat([photo[:, 0], alpha])[
        None, :, rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    frames = fill(video, mask).unbind(1)
    return torch.stack([
        _paste(frame, product, box) for frame, box in zip(
            frames, boxes((mask > 0.5).float()).tolist(), strict=True)], 1)


def fill(video: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    r"""The surroundings of a mask spread over it, frame by frame."""
    keep = 1 - dilate((mask > 0).to(video), EDGE)
    total, weight = video * keep, keep
    for dim in (-2, -1):
        total, weight = (blur(part, SPREAD, dim) for part in (total, weight))
    return torch.lerp(total / weight.clamp_min(1e-6), video, keep)


def _paste(frame, product, box):
    r"""A frame [3, H, W] with the product [1, 4, h, w] laid into a box."""
    top, left, bottom, right = box
    size = torch.tensor(product.shape[2:])
    scale = ((bottom - top) * (right - left) / size.prod()).sqrt()
    h, w = (size * scale).round().long().clamp(1).tolist()
    patch = F.interpolate(
        product, (h, w), mode='bilinear', antialias=True)[0]
    y, x = (top + bottom - h) // 2, (left + right - w) // 2
    # What hangs over the frame's edge is cut off.
    height, width = frame.shape[1:]
    patch = patch[:, max(0, -y):height - y, max(0, -x):width - x]
    y, x = max(0, y), max(0, x)
    place = (..., slice(y, y + patch.size(1)), slice(x, x + patch.size(2)))
    out = frame.clone()
    out[place] = torch.lerp(frame[place], patch[:3], patch[3:])
    return out
