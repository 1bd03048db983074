r"""Clips longer than the model's: evaluated in windows of time that overlap.

At every step each window is a clip of its own to the model, and where windows
overlap, their velocities are cross-faded. The noise, the loop and the bank are
those of the whole clip, so what overlaps stays one video. A step costs one
window's memory, whatever the number of frames.

The first latent frame of a clip holds one picture, all others four. A window
that starts later begins with one of four, and is not told so: it cannot be by
its position, as RoPE only knows distances. So what it makes of that frame has
no weight: the windows before, in which it is one among others, decide alone.
"""
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .conditioning import Condition
from .utils.flags import unbounded
from .velocity import Denoiser, Slots, Velocity, velocity

# Frames of a latent frame after the first.
TIME_STRIDE = 4
# The windows of a clip that is evaluated in one.
WHOLE = (slice(None),)


@dataclass(frozen=True)
class WindowConfig:
    r"""How a long clip is cut in time.

    Args:
        window_frames: most frames that the model sees at once, 4n + 1 from 5
            (default: all); a longer clip is computed in windows of so many.
        window_overlap: frames that neighbouring windows share at least, a
            multiple of 4, less than window_frames; 4 fades nothing.

    Raises:
        ValueError: windows that do not fit.
    """
    window_frames: int | None = unbounded(None)
    window_overlap: int = 8

    def __post_init__(self):
        frames, overlap = self.window_frames, self.window_overlap
        if frames is None:
            return
        if frames < 5 or frames % TIME_STRIDE != 1:
            raise ValueError(
                f'window_frames is {frames}, allowed is 4n + 1 from 5.')
        if not 0 < overlap < frames or overlap % TIME_STRIDE:
            raise ValueError(
                f'window_overlap is {overlap}, allowed with window_frames '
                f'{frames} are multiples of {TIME_STRIDE} up to {frames - 1}.')

    def of(self, frames: int) -> list[slice]:
        r"""The windows of a clip of so many latent frames; off, one of all."""
        if self.window_frames is None:
            return cut(frames, frames)
        return cut(frames, (self.window_frames - 1) // TIME_STRIDE + 1,
                   self.window_overlap // TIME_STRIDE)


OFF = WindowConfig()


def cut(frames: int, length: int, overlap: int = 0) -> list[slice]:
    r"""Windows of equal length that together are all frames, in order.

    Args:
        frames: of the clip, at least 1.
        length: of a window, at least 1; a shorter clip is one window.
        overlap: of neighbours, at least 0, less than `length`. The last
            window, shifted back to end with the clip, overlaps more.
    """
    if frames <= length:
        return [slice(0, frames)]
    starts = [*range(0, frames - length, length - overlap), frames - length]
    return [slice(start, start + length) for start in starts]


def faded(before: Tensor, after: Tensor, shared: int) -> Tensor:
    r"""One latent from two that share frames, [C, T, h, w].

    A linear ramp, from `before` alone in the first shared frame on.

    Args:
        shared: the number of last frames of `before`, first ones of `after`.
    """
    at = before.size(1) - shared
    ramp = torch.arange(shared).to(after)[:, None, None] / max(shared, 1)
    return torch.cat([
        before[:, :at], torch.lerp(before[:, at:], after[:, :shared], ramp),
        after[:, shared:]], dim=1)


def windowed(
    of_window: Callable[[slice], Velocity], windows: Sequence[slice]
) -> Velocity:
    r"""The velocities of a clip from those of its windows.

    Each is faded into those before it. So the weights of a frame sum to one,
    and where windows agree, their value is kept bit for bit.

    Args:
        of_window: evaluates the latents of a window. It is asked anew at each
            step, so that nothing of a window outlives it.
        windows: from `cut`; a single one is evaluated as it is.
    """
    if len(windows) == 1:
        return of_window(windows[0])

    def whole(latents, t):
        out, stop = {}, 0
        for window in windows:
            parts = {id(x): x[:, window] for x in latents.values()}
            found = of_window(window)(
                {name: parts[id(x)] for name, x in latents.items()}, t)
            out = {name: faded(out[name], v, stop - window.start)
                   if out else v for name, v in found.items()}
            stop = window.stop
        return out

    return whole


def check_common(
    conditions: Mapping[str, Condition], windows: Sequence[slice]
) -> None:
    r"""Check that what conditions tell holds in every window.

    Raises:
        ValueError: several windows, and conditions that hold more than text,
            which is of the whole clip.
    """
    inputs = {name for condition in conditions.values()
              for name in condition.inputs}
    if len(windows) > 1 and inputs:
        raise ValueError(
            f'Windows need a model that is told by text alone; this one is '
            f'given {", ".join(sorted(inputs))} of the whole clip.')


def in_windows(
    denoiser: Denoiser,
    conditions: Mapping[str, Condition],
    windows: Sequence[slice],
    slots: Slots | None = None,
    batch: bool = False,
) -> Velocity:
    r"""`velocity` of a clip in windows, to which all text is common.

    Raises:
        ValueError: see `check_common`.
    """
    check_common(conditions, windows)

    def of_window(window):
        own = slots if slots is None or len(windows) == 1 \
            else slots.part(window)
        return velocity(denoiser, conditions, own, batch)

    return windowed(of_window, windows)
