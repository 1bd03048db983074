r"""How a product leans in the picture's plane, from frame to frame."""
import torch

from .places import Places, look, overlap

# Turns in radians that are tried: from frame to frame, and at first between
# photo and template.
STEPS = torch.linspace(-0.24, 0.24, 25)
TILTS = torch.linspace(-1.0, 1.0, 41)
# What a turn of 1 radian costs in likeness, 0 to 1: a disc does not turn.
RELUCTANCE = 0.02
# Leans that a mirror axis may have, and the likeness to the mirror image that
# it must add before a product is taken not to stand upright.
LEANS, CLEAR = torch.linspace(-0.7, 0.7, 57), 0.06


def turns(
    video: torch.Tensor, mask: torch.Tensor, places: Places, seen: list[int]
) -> torch.Tensor:
    r"""[N]: radians by which a product has turned since it was seen first.

    Args:
        video: [3, F, H, W] in [-1, 1].
        mask: [F, H, W], 0 or 1.
        places: of the mask.
        seen: the N frames that show it.
    """
    def layers(i):
        return torch.cat([video[:, i], mask[i:i + 1]])[None]

    first = look(layers(seen[0]), places, seen[0], torch.zeros(1))
    found = [torch.tensor(0.)]
    for i in seen[1:]:
        angles = found[-1] + STEPS
        looks = look(layers(i), places, i, angles)
        both = looks[:, 3] * first[:, 3]
        difference = (looks[:, :3] - first[:, :3]).abs().mean(1) * both
        likeness = overlap(looks[:, 3], first[:, 3]) - difference.sum(
            (1, 2)) / both.sum((1, 2)).clamp_min(1)
        found.append(angles[
            (likeness - RELUCTANCE * STEPS.abs()).argmax()])
    return torch.stack(found)


def tilt(
    alpha: torch.Tensor, new: Places, mask: torch.Tensor, old: Places,
    index: int,
) -> torch.Tensor:
    r"""Radians by which to turn the photo for the outlines to agree."""
    still = look(alpha[None], new, 0, torch.zeros(1))
    turned = look(mask[None], old, index, TILTS)
    likeness = overlap(turned[:, 0], still[:, 0])
    return TILTS[(likeness - RELUCTANCE * TILTS.abs()).argmax()]


def leaning(
    mask: torch.Tensor, places: Places, seen: list[int], turned: torch.Tensor
) -> torch.Tensor:
    r"""Radians by which a product leans in the first of its frames.

    It is that of the mirror axis of its outline, in all frames together; 0
    unless a leaning axis is clearly better than the vertical one.

    Args:
        turned: [N], of `turns`.
    """
    gain = torch.zeros(len(LEANS))
    # Turned back by what it has turned, the outline is the same in all.
    for i, turn in zip(seen, turned, strict=True):
        outlines = look(mask[i:i + 1][None], places, i, turn + LEANS)[:, 0]
        gain += overlap(outlines, outlines.flip(-1)) / len(seen)
    gain -= RELUCTANCE * LEANS.abs()
    upright = gain[len(LEANS) // 2]
    best = gain.argmax()
    return LEANS[best] if gain[best] > upright + CLEAR else torch.tensor(0.)
