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

from ...depth import (
    depth_mask,
    hidden_mask,
    render_depth_background,
    render_depth_clip,
)
from ..measures import (
    LUMINANCE,
    STRIDE,
    cropped,
    edit_region,
    product_error,
)
from .pairs import DepthPair

# Turns of the skin around its body of which the best counts.
SHIFTS = 24
# Standard deviation, in pixels, above which a change is light, not pattern.
SOFT = 10.


@dataclass(frozen=True)
class Answer:
    r"""All that an edit of a pair is held against.

    Args:
        source, truth, background: template, true answer, and neither's
            product.
        shifted: the truth with its skin turned about its body.
        old, new: where template and truth show their product.
        hidden: where something stands before the new product.
        turn: radians a frame.
        stand: how the template's product stands, as its pixels tell.
    """
    source: Tensor
    truth: Tensor
    background: Tensor
    shifted: tuple[Tensor, ...]
    old: Tensor
    new: Tensor
    hidden: Tensor
    turn: float
    stand: Standing | None

    @classmethod
    def of(cls, pair: DepthPair) -> 'Answer':
        r"""Rendered."""
        truth, motion = pair.truth, pair.clip.motion
        source, old = render_depth_clip(pair.clip), depth_mask(pair.clip)
        return cls(
            source, render_depth_clip(truth),
            render_depth_background(pair.clip),
            tuple(map(render_depth_clip, pair.shifted(SHIFTS))),
            old, depth_mask(truth), hidden_mask(truth),
            motion.turn / max(1, pair.clip.frames - 1),
            stand_of(source, old))


def measure_depth(edited: Tensor, answer: Answer) -> dict[str, float]:
    r"""Everything the benchmark knows of one edited clip in depth.

    Returns:
        product_error: mean absolute error of the new product's pixels.
        phase_free: the least of it over turns of the skin around the body:
            a photo does not tell which side faces the camera.
        structure: SSIM of them, of every third frame.
        light_error: see `light_error`.
        occlusion_error: mean absolute error where something stands before the
            product; missing where nothing does.
        background_psnr: outside of both products and shadows, in dB.
        motion: `motion_amount` on the product against the truth's, a ratio;
            missing where the truth stands still.
        turn: the rate that the result shows, radians a frame, see
            `standing`.

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
        'background_psnr': psnr(edited, answer.source, 1 - region),
        'turn': shown_turn(edited, new),
    }
    moved = motion_amount(goal, mask)
    if moved:
        found['motion'] = motion_amount(pixels, mask) / moved
    if answer.hidden.sum() > 1:
        found['occlusion_error'] = product_error(edited, truth, answer.hidden)
    return found


def light_error(edited: Tensor, truth: Tensor, answer: Answer) -> float:
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
