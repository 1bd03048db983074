r"""How light falls on a product, told from its colours or by an edit.

A product has a few colours; what differs smoothly across its outline within
one of them is light. The light stands still while a product turns, so frames
are looked at together.

How bright it is as a whole no colour tells, but what an edit makes of a
collage does. A VAE blurs small print, and a model draws it anew; so of an edit
the soft part is taken, as a ratio, and the detail stays the photo's.
"""
import torch
from torch import Tensor

from ..utils import disk
from .filters import blur
from .turning import extents

# Colours of a product, rounds of telling them from the light, and pixels.
PALETTE, ROUNDS, PIXELS = 5, 8, 6000
# Darkest colour in [0, 1] that counts, and that at which light is cut off.
DARK, BRIGHT = .03, .985
# Share of the half width beyond which the ground shines through.
EDGE = .9
# Pixels' worth of doubt that there is light at all.
DOUBT = 20.
# Log of how much darker or brighter light makes a part at most.
MOST = .7
# Share of the frame's height, a standard deviation, above which a change is
# light and not detail; its bounds, and the darkest tone that counts.
SOFT, BOUNDS, DARK_TONE = 1 / 16, (.4, 2.5), .02
LUMINANCE = .299, .587, .114


def outline_places(alpha: Tensor) -> Tensor:
    r"""[2, h, w]: where each pixel of an outline [h, w] lies in it.

    Across, in its row, and down, both in [-1, 1] from left and top.
    """
    middle, half, known = extents(alpha)
    rows = known.nonzero().flatten()
    first, last = (rows[0].item(), rows[-1].item()) if len(rows) else (0, 0)
    height, width = alpha.shape
    x, y = torch.arange(width) + .5, torch.arange(height) + .5
    across = (x - middle[:, None]) / half[:, None]
    down = 2 * (y - first) / (last + 1 - first) - 1
    return torch.stack([across, down[:, None].expand_as(across)]).clamp(-1, 1)


def light_of(
    pictures: list[Tensor], outlines: list[Tensor], shown: list[Tensor]
) -> Tensor:
    r"""[5], the light on a product, for `shade`.

    Args:
        pictures: [3, h, w] in [-1, 1] of one product in one light.
        outlines: [h, w], its outline in each.
        shown: [h, w], where it is seen.
    """
    colours, terms = [], []
    every = max(1, sum(int(part.sum()) for part in shown) // PIXELS)
    for picture, outline, part in zip(
            pictures, outlines, shown, strict=True):
        places = outline_places(outline)
        rows, columns = ((part > .99) & (places[0].abs() < EDGE)).nonzero(
            as_tuple=True)
        pick = slice(None, None, every)
        rows, columns = rows[pick], columns[pick]
        colours.append((picture[:, rows, columns].T + 1) / 2)
        terms.append(_terms(places[:, rows, columns]).T)
    return _fitted(torch.cat(colours), torch.cat(terms))


def shade(light: Tensor, outline: Tensor) -> Tensor:
    r"""[h, w], the log of a light on an outline [h, w], 0 in its mean."""
    log = torch.einsum('c,chw->hw', light, _terms(outline_places(outline)))
    inside = (outline > .5).to(log)
    mean = (log * inside).sum() / inside.sum().clamp_min(1)
    return (log - mean).clamp(-MOST, MOST)


def relit(
    video: Tensor, alpha: Tensor, before: Tensor, after: Tensor
) -> Tensor:
    r"""A collage in the light in which an edit shows it.

    The product and what surrounds it are each lit by themselves: the edge
    between them is no shadow.

    Args:
        video: the collage, [3, F, H, W] in [-1, 1].
        alpha: [F, H, W] in [0, 1], where it shows the product.
        before, after: the collage and the edit, like `video`, each through
            the same decoder, so that what this loses is lost in both.

    Returns:
        Like `video`, whose pixels it has where none of the two is brighter.
    """
    sigma = SOFT * video.size(2)
    out = disk.empty(video.shape)
    for i in range(video.size(1)):
        light = _gain(before[:, i], after[:, i], alpha[i], sigma)
        pixels = (video[:, i] + 1) / 2 * light
        out[:, i] = 2 * pixels.clamp(0, 1) - 1
    return out


def _terms(places: Tensor) -> Tensor:
    r"""[5, ...]: what light on a round body is made of."""
    across, down = places
    return torch.stack([
        across, (1 - across.square()).clamp_min(0).sqrt(), down,
        down.square(), across * down])


def _fitted(colours: Tensor, terms: Tensor) -> Tensor:
    r"""[5], of colours [N, 3] in [0, 1] and terms [N, 5]."""
    light = torch.zeros(terms.size(1))
    if len(colours) < 50:
        return light
    logs = colours.clamp_min(DARK).log()
    weight = (colours * (colours.amax(1, keepdim=True) < BRIGHT)).clamp_min(
        1e-4)
    centres = _spread(logs, weight)
    for _ in range(ROUNDS):
        flat = logs - (terms @ light)[:, None]
        near = ((flat[:, None] - centres).square() * weight[:, None]).sum(2)
        own = torch.nn.functional.one_hot(
            near.argmin(1), len(centres)).to(logs)
        total = (own.T @ weight).clamp_min(1e-6)
        centres = own.T @ (flat * weight) / total
        light = _solved(logs, terms, weight, own, total)
    return light


def _solved(logs, terms, weight, own, total):
    r"""The light that leaves least, each colour being what it is."""
    left, right = torch.zeros(terms.size(1), terms.size(1)), 0.
    for c in range(3):
        w = weight[:, c:c + 1]
        share = own.T @ (terms * w) / total[:, c:c + 1]
        inner = terms - own @ share
        level = own @ (own.T @ (logs[:, c:c + 1] * w) / total[:, c:c + 1])
        left = left + inner.T @ (inner * w)
        right = right + inner.T @ ((logs[:, c:c + 1] - level) * w)
    left = left + DOUBT * torch.eye(len(left)) * len(logs) / PIXELS
    return torch.linalg.solve(left, right)[:, 0]


def _spread(logs, weight):
    r"""[PALETTE, 3]: colours that differ as much as they can."""
    found = [logs.median(0).values]
    for _ in range(PALETTE - 1):
        away = torch.stack([
            ((logs - one).square() * weight).sum(1) for one in found]).amin(0)
        found.append(logs[away.argmax()])
    return torch.stack(found)


def _gain(before, after, alpha, sigma):
    r"""[H, W], how many times as bright an edit is."""
    weights = torch.tensor(LUMINANCE)[:, None, None]
    tones = [((picture + 1) / 2 * weights).sum(0)
             for picture in (before, after)]
    light = 0.
    for share in (alpha, 1 - alpha):
        old, new = (_soft(tone, share, sigma) for tone in tones)
        light = light + share * (new / old).clamp(*BOUNDS)
    return light


def _soft(picture, weight, sigma):
    r"""The Gaussian mean around each pixel, by weight, at least `DARK_TONE`.
    """
    weight = weight.clamp_min(1e-3)
    total = picture * weight
    for dim in (-2, -1):
        total, weight = (blur(part, sigma, dim) for part in (total, weight))
    return (total / weight).clamp_min(DARK_TONE)
