r"""A rough map of where the product is, made sharp by what it looks like.

The template's colours are described by two mixtures of Gaussians, one of the
product and one of what is around it, fitted in turn with where each holds, as
in GrabCut (Rother et al., 2004): a map that covers a product and its
surroundings shrinks to the product. Nothing is drawn at random.
"""
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from .filters import blur, spread
from .following import follow, hinted
from .hint import Hint

# Gaussians of the product and of what is around it.
PRODUCT, AROUND = 4, 5
# Rounds of places and mixtures, steps of EM in the first and in later ones.
ROUNDS, FIRST, LATER = 5, 8, 2
# Variance of each colour, in [-1, 1], that no Gaussian goes below.
FLOOR = 1.5e-2
# Log-odds of a map and of a colour at most, and how much a colour's count.
TRUST, COLOUR, WEIGHT = 2., 4., 3.
# Standard deviation of the blur of the colours' log-odds, as a share of the
# frame's shorter side.
SMOOTH = 1 / 64
# Shorter sides, in cells, of the grids that are fitted on and looked at last.
COARSE, FINE = 32, 128
# Pieces of a product in a frame are at least this share of its largest.
PIECE = 0.25


class Mixture(NamedTuple):
    r"""Gaussians in D dimensions.

    Args:
        share: [K], how much of the whole each makes up; they sum to 1.
        mean: [K, D].
        cov: [K, D, D].
    """
    share: torch.Tensor
    mean: torch.Tensor
    cov: torch.Tensor

    @classmethod
    def start(
        cls, points: torch.Tensor, weights: torch.Tensor, count: int
    ) -> 'Mixture':
        r"""Means far from each other, the first in the middle.

        Args:
            points: [N, D].
            weights: [N], how much each counts, at least 0.
            count: of Gaussians.
        """
        means = [weights @ points / weights.sum()]
        distance = (points - means[0]).square().sum(1)
        variance = weights @ distance / weights.sum() / points.size(1)
        for _ in range(count - 1):
            means.append(points[(weights * distance).argmax()])
            distance = torch.minimum(
                distance, (points - means[-1]).square().sum(1))
        eye = torch.eye(points.size(1)).to(points)
        return cls(points.new_full((count,), 1 / count), torch.stack(means),
                   (eye * (variance / count + FLOOR)).expand(count, -1, -1))

    def fitted(
        self, points: torch.Tensor, weights: torch.Tensor, steps: int
    ) -> 'Mixture':
        r"""After some steps of EM; `points` and `weights` as of `start`."""
        mixture, terms = self, _terms(points)
        for _ in range(steps):
            mixture = mixture._step(terms, weights)
        return mixture

    def log_density(self, points: torch.Tensor) -> torch.Tensor:
        r"""[N, D] -> [N]."""
        return self._each(_terms(points)).logsumexp(1)

    def _each(self, terms):
        r"""[N, K], of each Gaussian, its share included."""
        inverse = torch.linalg.inv(self.cov)
        pull = torch.einsum('kij,kj->ki', inverse, self.mean)
        constant = self.share.log() - .5 * (
            torch.logdet(self.cov) + (pull * self.mean).sum(1)
            + self.mean.size(1) * math.log(2 * math.pi))
        return terms @ torch.cat(
            [constant[:, None], pull, -.5 * inverse.flatten(1)], 1).T

    def _step(self, terms, weights):
        belongs = self._each(terms).softmax(1) * weights[:, None]
        sums = belongs.T @ terms
        amount = sums[:, 0].clamp_min(1e-6)
        moments = sums / amount[:, None]
        size = self.mean.size(1)
        mean = moments[:, 1:1 + size]
        cov = moments[:, 1 + size:].unflatten(1, (size, size)) \
            - mean[:, :, None] * mean[:, None]
        eye = torch.eye(size).to(mean)
        return Mixture(amount / amount.sum(), mean, cov + FLOOR * eye)


def _terms(points):
    r"""[N, D] -> [N, 1 + D + D * D]: a Gaussian's logarithm is linear in them,
    and their weighed sums are its moments."""
    squares = points[:, :, None] * points[:, None]
    return torch.cat(
        [torch.ones_like(points[:, :1]), points, squares.flatten(1)], 1)


def segment(
    video: torch.Tensor, odds: torch.Tensor, hint: Hint | None = None
) -> torch.Tensor | None:
    r"""The product's mask from rough log-odds of where it is.

    Args:
        video: [3, F, H, W] in [-1, 1].
        odds: [F, h, w], above 0 where the product is likely.
        hint: where it is in one frame. The mixtures are fitted there first,
            and of the mask only what hangs together with it is kept.

    Returns:
        [F, H, W], 0 or 1; None when nothing, or everything, is product.
    """
    odds = odds.float().clamp(-TRUST, TRUST)
    pair = None
    if hint is not None:
        odds, sure = hinted(odds, hint, video.shape[2:])
        one = slice(hint.frame, hint.frame + 1)
        # Where only it tells, the other frames would outvote it.
        pair, _ = _fitted(*_views(video[:, one], odds[one] + sure[one],
                                  COARSE))
        odds = odds + sure
    pair, share = _fitted(*_views(video, odds, COARSE), pair)
    fine, rough = _views(video, odds, FINE)
    mask = ((rough + share + _colours(fine, *pair)) > 0).float()
    if hint is not None:
        mask = follow(mask, hint.marks((*mask.shape[1:], *video.shape[2:])),
                      hint.frame)
    mask = _pieces(mask)
    mask = (F.interpolate(
        mask[:, None], video.shape[2:], mode='bilinear')[:, 0] > .5).float()
    return None if mask.min() == mask.max() else mask


def _fitted(video, rough, start=None):
    r"""The mixtures of product and surroundings, and the product's share, as
    log-odds.

    Args:
        video: [3, F, h, w].
        rough: [F, h, w], log-odds.
        start: mixtures to begin with; None begins with the odds.
    """
    points = video.flatten(1).T
    place = rough.sigmoid()
    least = place.mean() / 2
    if start is not None:
        place = (rough + _colours(video, *start)).sigmoid()
    pair = start or (None, None)
    for _ in range(ROUNDS):
        inside = place.flatten()
        pair = tuple(
            (mixture or Mixture.start(points, weights, count)).fitted(
                points, weights, LATER if mixture else FIRST)
            for mixture, weights, count in (
                (pair[0], inside, PRODUCT), (pair[1], 1 - inside, AROUND)))
        share = place.mean().clamp_min(least).logit()
        place = (rough + share + _colours(video, *pair)).sigmoid()
    return pair, share


def _views(video, odds, side):
    r"""Video and odds on a grid of at most so many cells a side."""
    height, width = video.shape[2:]
    shrink = min(1., side / min(height, width))
    size = [round(height * shrink), round(width * shrink)]
    frames = F.interpolate(video.transpose(0, 1).float(), size, mode='area')
    rough = F.interpolate(odds[:, None], size, mode='bilinear')[:, 0]
    return frames.transpose(0, 1), rough


def _colours(video, product, around):
    r"""[F, h, w], what the colours say, blurred."""
    frames = []
    for frame in video.unbind(1):
        points = frame.flatten(1).T
        odds = product.log_density(points) - around.log_density(points)
        odds = odds.clamp(-COLOUR, COLOUR).view(frame.shape[1:])
        for dim in (0, 1):
            odds = blur(odds, SMOOTH * min(frame.shape[1:]), dim)
        frames.append(odds)
    return WEIGHT * torch.stack(frames)


def _pieces(mask):
    r"""Without what is small next to the largest piece of its frame."""
    cells = mask[0].numel()
    names = spread(
        torch.arange(1., cells + 1).to(mask).view(mask.shape[1:])
        .expand_as(mask), mask).long()
    kept = []
    for name in names:
        counts = torch.bincount(name.flatten(), minlength=cells + 1)
        counts[0] = 0
        kept.append((counts >= PIECE * counts.max().clamp_min(1))[name])
    return torch.stack(kept).float()
