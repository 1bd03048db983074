r"""How close an edit in the world in depth is to the swap's true answer.

Videos are float tensors [3, T, H, W] in [-1, 1], masks [T, H, W] in [0, 1];
errors are in colours of [0, 1]. See `..measures` for what both worlds have.
"""
from dataclasses import dataclass

import torch
from torch import Tensor

from wan.product.filters import blur
from wan.product.places import Places
from wan.product.standing import Standing, standing
from wan.utils.metrics import motion_amount, psnr, ssim

from ..answer import Answer
from ..measures import (
    LUMINANCE,
    STRIDE,
    checkerboard,
    cropped,
    edit_region,
    product_error,
)

# Turns of the skin around its body of which the best counts.
SHIFTS = 24
# Standard deviation, in pixels, above which a change is light, not pattern.
SOFT = 10.
# A turn is right within a fifth of it, or half a degree a frame.
WITHIN, SLACK = .2, .009


@dataclass(frozen=True)
class DepthAnswer(Answer):
    r"""All that an edit of a pair in depth is held against.

    Args:
        source, truth, background, old, new: see `Answer`.
        shifted: the truth with its skin turned about its body.
        hidden: where something stands before the new product.
        turn: radians a frame.
        shown: whether the truth itself shows its turn; a plain skin does not.
        stand: how the template's product stands, as its pixels tell.
    """
    shifted: tuple[Tensor, ...]
    hidden: Tensor
    turn: float
    shown: bool
    stand: Standing | None

    def measure(self, edited: Tensor) -> dict[str, float]:
        r"""See `measure_depth`."""
        return measure_depth(edited, self)


def measure_depth(edited: Tensor, answer: DepthAnswer) -> dict[str, float]:
    r"""Everything the benchmark knows of one edited clip in depth.

    Returns:
        product_error: mean absolute error of the new product's pixels.
        phase_free: the least of it over turns of the skin around the body:
            a photo does not tell which side faces the camera.
        structure: SSIM of them, of every third frame.
        light_error: see `light_error`.
        occlusion_error: mean absolute error where something stands before the
            product; missing where nothing does.
        checkerboard: see `..measures.checkerboard`.
        background_psnr: outside of both products and shadows, in dB.
        motion: `motion_amount` on the product against the truth's, a ratio;
            missing where the truth stands still.
        turn: the rate that the result shows, radians a frame, see
            `standing`.
        turn_right: 1 if that is the true one, else 0, see `turn_is_right`;
            missing where the truth does not show its turn.

    Raises:
        ValueError: see `edit_region`'s and `product_error`'s.
    """
    edited, truth, new = edited.float(), answer.truth, answer.new
    region = edit_region(
        truth, answer.source, answer.background, new, answer.old)
    mask, pixels, goal, *others = cropped(
        new, edited, truth, *answer.shifted)
    few = slice(None, None, STRIDE)
    found = {
        'product_error': product_error(pixels, goal, mask),
        'phase_free': min(
            product_error(pixels, other, mask) for other in others),
        'structure': ssim(pixels[:, few], goal[:, few], mask[few]),
        'light_error': light_error(edited, truth, answer),
        'checkerboard': checkerboard(edited, truth, new),
        'background_psnr': psnr(edited, answer.source, 1 - region),
        'turn': shown_turn(edited, new),
    }
    if answer.shown:
        found['turn_right'] = float(turn_is_right(found['turn'], answer.turn))
    moved = motion_amount(goal, mask)
    if moved:
        found['motion'] = motion_amount(pixels, mask) / moved
    if answer.hidden.sum() > 1:
        found['occlusion_error'] = product_error(edited, truth, answer.hidden)
    return found


def light_error(edited: Tensor, truth: Tensor, answer: DepthAnswer) -> float:
    r"""Mean absolute error of the low frequencies of the luminance.

    They are Gaussian means, `SOFT`, over the new product and its shadow on
    the floor, which is where they are compared.
    """
    lit = ((truth != answer.background).any(0)).to(truth)
    tone = torch.tensordot(
        torch.tensor(LUMINANCE).to(truth), edited - truth, 1) * lit
    share = lit
    for dim in (-2, -1):
        tone, share = (blur(part, SOFT, dim) for part in (tone, share))
    low = tone / share.clamp_min(1e-6)
    return ((low.abs() * lit).sum() / lit.sum().clamp_min(1) / 2).item()


def turn_is_right(turn: float, wanted: float) -> bool:
    r"""Whether a result turns at the truth's rate, within a fifth."""
    return abs(turn - wanted) <= max(SLACK, WITHIN * abs(wanted))


def shown_turn(video: Tensor, mask: Tensor) -> float:
    r"""Radians a frame by which the product of a video turns in depth."""
    stand = stand_of(video, mask)
    return stand.rate if stand else 0.


def stand_of(video: Tensor, mask: Tensor) -> Standing | None:
    r"""How the product of a video stands; None where none is seen."""
    mask = (mask > .5).float()
    places = Places.of(mask)
    seen = places.size.nonzero().flatten().tolist()
    return standing(video, mask, places, seen) if seen else None
