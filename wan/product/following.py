r"""A hint carried from its frame to the others, by what hangs together."""
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from .filters import dilate, spread
from .hint import Hint
from .masks import frames_of, over_windows

# Log-odds of what a hint leaves no doubt about.
CERTAIN = 30.
# By this share of its sides a box may be too small on each side.
GROWN = 0.125
# And by this share a box is cut on each side to what surely is product.
CORE = 0.375
# How far the product may move from one frame to the next, as a share of the
# picture's shorter side.
STEP = 1 / 24


def hinted(
    odds: torch.Tensor, hint: Hint, size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Rough log-odds and what a hint adds to them.

    In the hint's frame nothing outside a box, a little grown, is product, and
    the middle of the box, or the point, is. In the other frames what hangs
    together with it over time keeps its odds, and nothing else does; where
    the map shows nothing at the hint, only the hint is left.

    Args:
        odds: [F, h, w], above 0 where the product is likely.
        size: (H, W) of the picture in pixels.

    Returns:
        Both [F, h, w], the odds and what is certain, +-`CERTAIN` or 0.
    """
    grid = *odds.shape[1:], *size
    seed, marked = hint.marks(grid, -CORE), hint.marks(grid)
    likely = (odds > 0).float()
    certain = torch.zeros_like(odds)
    if hint.is_point:
        near = follow(likely, seed, hint.frame)
        certain[hint.frame] = CERTAIN * seed
    else:
        # What the map spreads around the product would lead elsewhere.
        allowed = hint.marks(grid, GROWN)
        likely[hint.frame] *= allowed
        near = follow(likely, marked, hint.frame)
        certain[hint.frame] = torch.where(allowed > 0, CERTAIN * seed,
                                          -CERTAIN)
    near[hint.frame] = torch.maximum(near[hint.frame], marked)
    return torch.where(near > 0, odds, -odds.abs() - 1), certain


def follow(
    mask: torch.Tensor, seed: torch.Tensor, frame: int
) -> torch.Tensor:
    r"""The pieces of a mask that are the same thing as in one frame.

    From frame to frame, in both directions, a piece goes on in those that it
    overlaps, or comes as close to as it may move. A frame in which none does
    is passed over.

    Args:
        mask: [F, h, w], 0 or 1.
        seed: [h, w], cells that the thing touches in that frame.
        frame: where to begin.

    Returns:
        The same shape.
    """
    reach = max(1, round(STEP * min(mask.shape[1:])))
    kept = torch.zeros_like(mask)
    start = spread(seed[None], mask[frame:frame + 1])[0]
    kept[frame] = start
    for order in (range(frame + 1, len(mask)), range(frame - 1, -1, -1)):
        last = start if start.any() else seed
        for t in order:
            kept[t] = spread(
                dilate(last[None], reach), mask[t:t + 1])[0]
            if kept[t].any():
                last = kept[t]
    return kept


def find_in_windows(
    windows: Sequence[slice],
    hint: Hint | None,
    find: Callable[[slice, Hint | None], torch.Tensor | None],
) -> torch.Tensor | None:
    r"""The mask of a video in whose windows the product is looked for.

    The window of the hint comes first; its neighbours are told what was found
    in the frames that they share.

    Args:
        windows: of latent frames, in order; neighbours overlap.
        find: the mask [F, H, W] of a window, None when nothing tells.

    Returns:
        [F, H, W]; None when nothing was found in any.
    """
    if hint is None or len(windows) == 1:
        return over_windows(
            windows, [find(window, hint) for window in windows])
    frames = [frames_of(window) for window in windows]
    first = next(i for i, part in enumerate(frames) if hint.frame < part.stop)
    masks: list[torch.Tensor | None] = [None] * len(windows)
    masks[first] = find(windows[first], replace(
        hint, frame=hint.frame - frames[first].start))
    for order, step in ((range(first + 1, len(windows)), 1),
                        (range(first - 1, -1, -1), -1)):
        for i in order:
            masks[i] = find(windows[i], _handed_on(
                masks[i - step], frames[i - step], frames[i]))
    return over_windows(windows, masks)


def _handed_on(mask, of, to) -> Hint | None:
    r"""A found mask's box in the middle of the frames that `of`, `to` share."""
    if mask is None:
        return None
    start, stop = max(of.start, to.start), min(of.stop, to.stop)
    if start >= stop:
        return None
    hint = Hint.typical(mask[start - of.start:stop - of.start])
    return hint and replace(hint, frame=hint.frame + start - to.start)
