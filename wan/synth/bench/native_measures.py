r"""What is measured of an edit of a native template beside `measures`."""
import torch
from torch import Tensor

from wan.product.view import resized
from wan.windows import TIME_STRIDE, WindowConfig

from .answer import Answer
from .measures import edit_region

# Of the embedded model; longer clips are edited in these.
WINDOWS = WindowConfig(17, 8)


def measure_native(
    edited: Tensor,
    answer: Answer,
    used: Tensor | None,
    window: float,
) -> dict[str, float]:
    r"""The measures of `measure`, and those of native edits.

    Args:
        edited, answer: see `Answer`.
        used: [T, h, w] of the whole frame, the mask that was used; None
            where there was none.
        window: share of the frame that the model saw.

    Returns:
        touched: share of the background's pixels that are not the
            template's own, bit for bit.
        found_iou: of the mask that was used with the true one, at the
            template's size; 1 without one.
        seam: see `seam`.
        share: of the frame that the template's product covers.
        window: as given.
    """
    source, new, old = answer.source, answer.new, answer.old
    region = edit_region(
        answer.truth, source, answer.background, new, old) > 0
    changed = (edited != source).any(0)
    found = 1. if used is None else iou(torch.cat([
        resized(frame[None], old.shape[:0:-1]) for frame in used]), old)
    return {
        **answer.measure(edited),
        'touched': changed[~region].float().mean().item(),
        'found_iou': found,
        'seam': seam(edited, answer.truth, new),
        'share': old.mean().item(),
        'window': window,
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
