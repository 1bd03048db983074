r"""What is measured of an edit of a native template beside `measures`."""
from typing import NamedTuple

import torch
from torch import Tensor

from wan.product.view import resized
from wan.windows import TIME_STRIDE, WindowConfig

from .measures import edit_region, measure

# Of the embedded model; longer clips are edited in these.
WINDOWS = WindowConfig(17, 8)


class Told(NamedTuple):
    r"""What is known of an edit beside its video.

    Args:
        old: [T, H, W], the true mask.
        mask: [T, h, w] that was used, of the whole frame; None without one.
        window: share of the frame that the model saw.
    """
    old: Tensor
    mask: Tensor | None
    window: float


def measure_native(
    edited: Tensor,
    truth: Tensor,
    source: Tensor,
    new_mask: Tensor,
    old_mask: Tensor,
    background: Tensor,
    told: Told,
) -> dict[str, float]:
    r"""The measures of `measure`, and

    Returns:
        touched: share of the background's pixels that are not the
            template's own, bit for bit.
        found_iou: of the mask that was used with the true one, at the
            template's size; 1 where it was given or none is used.
        seam: see `seam`.
        share: of the frame that the template's product covers.
        window: share of the frame that the model saw.
    """
    region = edit_region(truth, source, background, new_mask, old_mask) > 0
    changed = (edited != source).any(0)
    size = told.old.shape[:0:-1]
    found = 1. if told.mask is None else iou(
        torch.cat([resized(frame[None], size) for frame in told.mask]),
        told.old)
    return {
        **measure(edited, truth, source, new_mask, old_mask, background),
        'touched': changed[~region].float().mean().item(),
        'found_iou': found,
        'seam': seam(edited, truth, new_mask),
        'share': told.old.mean().item(),
        'window': told.window,
    }


def iou(one: Tensor, two: Tensor) -> float:
    r"""Intersection over union of masks [T, H, W]; 1 if both are empty."""
    one, two = one > 0.5, two > 0.5
    union = (one | two).sum().item()
    return (one & two).sum().item() / union if union else 1.


def seam(edited: Tensor, truth: Tensor, mask: Tensor) -> float:
    r"""How far a change of windows shows in time.

    The change from a frame to the next, less that of the truth, in the new
    product: where one window fades into the next, over that elsewhere. Only
    steps from one latent frame to another are compared, which differ more
    than those within one.

    Returns:
        1 if nothing is to be seen; also of a clip in one window.
    """
    frames = edited.size(1)
    latents = (frames - 1 + TIME_STRIDE - 1) // TIME_STRIDE + 1
    fading, stop = set(), 0
    for window in WINDOWS.of(latents):
        fading |= set(range(window.start, stop))
        stop = window.stop
    # Step i is from the last frame of latent frame i to the next one's first.
    steps = torch.arange(0, frames - 1, TIME_STRIDE)
    borders = torch.tensor([
        (i in fading or i + 1 in fading) for i in range(len(steps))])
    if not borders.any() or borders.all():
        return 1.
    jumps = []
    for step in steps.tolist():
        both = mask[step] * mask[step + 1]
        change = (edited - truth)[:, step:step + 2].diff(dim=1)[:, 0].abs()
        jumps.append((change * both).sum() / both.sum().clamp_min(1))
    jumps = torch.stack(jumps)
    return (jumps[borders].mean()
            / jumps[~borders].mean().clamp_min(1e-6)).item()
