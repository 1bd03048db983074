r"""Where the product is in the template video, if no mask is given.

The difference that the prompts make to the velocity, and the cross-attention
to the words that name the product, are a rough map of the video. `segment`
makes it a mask.
"""
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from ..conditioning import Condition
from ..modules.rope import token_grid
from ..modules.slots import CrossSlot, Share
from ..velocity import Denoiser
from .filters import otsu
from .hint import Hint
from .masks import by_frames
from .mixture import segment

# Blocks of a model of 30 whose cross-attention shows where a word is.
MIDDLE_LAYERS = (11, 17)
MODEL_LAYERS = 30

# Sigmas at which the template is looked at.
SIGMAS = (0.8, 0.6)

# Ends of a map's values: what lies beyond are outliers.
QUANTILES = (0.01, 0.999)
# How little the words can leave of the velocities' map, and how steeply the
# log-odds rise with the map around its cut.
WORDS_LEAVE, SLOPE = 0.2, 4.
# A mask of more than this share of a frame, or that has less than this in
# common with the next frame's, is doubted.
LARGE, STEADY = 0.5, 0.3

TOO_LARGE = 'covers more than half of the picture in {} frames'
JUMPS = 'jumps, or is empty, at {} of the frames'
FOUND = (
    'The mask that was found {}: look at it; if it is wrong, say where the '
    'product is with src_box or src_point, try another mask_method, or give '
    'src_mask.')
GIVEN = (
    'src_mask {}: look at it, and whether it is white where the product is, '
    'in time with the template.')


class WordAttention:
    r"""Records where in the video a prompt's words are looked at.

    Its `slots`, given to the model's cross-attentions, keep the probability
    with which each video token attends to the chosen text tokens: the mean
    over these, over heads, samples, the middle layers and all forwards.

    Args:
        positions: of the words' tokens, see `token_positions`.
        depth: the model's number of blocks.
        chunk: queries at a time, which bounds the memory.
        share: this process's share of the tokens; None has all of them.
    """

    def __init__(
        self,
        positions: Sequence[int],
        depth: int,
        chunk: int = 1024,
        share: Share | None = None,
    ):
        first, last = MIDDLE_LAYERS
        self.positions = list(positions)
        self.layers = range(
            first * depth // MODEL_LAYERS,
            math.ceil((last + 1) * depth / MODEL_LAYERS))
        self.depth = depth
        self.chunk = chunk
        self.share = share
        self.total: torch.Tensor | float = 0.
        self.count = 0

    @property
    def slots(self) -> list[CrossSlot | None]:
        r"""For each block; only those of the middle layers look."""
        return [self._look if i in self.layers else None
                for i in range(self.depth)]

    def _look(self, q, k, v, x):
        keys = k.float()
        self.total = self.total + torch.cat([
            self._probability(part.float(), keys)
            for part in q.split(self.chunk, dim=1)
        ])
        self.count += 1
        return x

    def _probability(self, q, keys):
        r"""[B, l, N, D] and [B, Lt, N, D] -> [l]."""
        logits = torch.einsum('blnd,bknd->bnlk', q, keys)
        weights = logits.mul_(q.size(-1) ** -0.5).softmax(-1)
        return weights[..., self.positions].mean(dim=(0, 1, 3))

    def map(self, grid: Sequence[int]) -> torch.Tensor:
        r"""[f, h, w] probabilities over the video's tokens.

        Raises:
            ValueError: no forward was seen.
        """
        if not self.count:
            raise ValueError('No forward has been given these slots.')
        total = self.total
        if self.share is not None:
            total = self.share.gather(
                total[None, :, None], math.prod(grid)).flatten()
        return (total / self.count).view(*grid)


def find_product(
    denoiser: Denoiser,
    video: torch.Tensor,
    latent: torch.Tensor,
    conditions: Mapping[str, Condition],
    words: Mapping[str, Sequence[int]],
    generator: torch.Generator,
    hint: Hint | None = None,
) -> torch.Tensor | None:
    r"""The product's place in a template, from what the model sees in it.

    Args:
        denoiser: the model.
        video: the template, [3, F, H, W] in [-1, 1].
        latent: of it, [C, T, h, w]; it is noised here.
        conditions: of the prompts 'source' and 'target'.
        words: for either prompt, or one of them, the positions of the words
            that name the product, if they are known.
        generator: of the noise.
        hint: where the product is in one frame, in pixels of `video`.

    Returns:
        [F, H, W] on the CPU, 0 or 1; None when nothing tells.
    """
    model = denoiser.model
    probes = {
        name: WordAttention(
            positions, len(model.blocks), share=denoiser.share)
        for name, positions in words.items()}
    differences = []
    for sigma in SIGMAS:
        noise = torch.randn(
            latent.shape, generator=generator, device=generator.device)
        x = (1 - sigma) * latent + sigma * noise.to(latent)
        v = {
            name: denoiser(
                [x], denoiser.timestep(sigma), conditions[name],
                cross=probes[name].slots if name in probes else None)[0]
            for name in ('source', 'target')}
        differences.append(v['target'] - v['source'])
    grid = token_grid(latent.shape, model.patch_size)
    odds = log_odds(heat(
        differences, [probe.map(grid) for probe in probes.values()]))
    if odds is None:
        if hint is None:
            return None
        odds = torch.zeros(grid)  # then the hint alone tells
    return segment(video.cpu(), by_frames(odds.cpu(), video.size(1)), hint)


def heat(
    differences: Sequence[torch.Tensor], maps: Sequence[torch.Tensor] = ()
) -> torch.Tensor:
    r"""High at the product.

    Args:
        differences: [C, T, h, w], the prompts' velocities, target minus
            source without guidance, at some sigmas or noises.
        maps: [f, h, w] in tokens, the attention to each prompt's words; each
            counts alike, whatever its size.

    Returns:
        [T, h, w], at least 0.
    """
    total = sum(d.float().square().mean(0).sqrt() for d in differences)
    if maps:
        looked = sum(_normalised(m.float()) for m in maps) / len(maps)
        looked = F.interpolate(
            looked[None, None], tuple(total.shape), mode='trilinear')[0, 0]
        total = total * looked.sqrt().clamp_min(WORDS_LEAVE)
    return total / len(differences)


def log_odds(heat: torch.Tensor) -> torch.Tensor | None:
    r"""A map of any scale to log-odds of the product, 0 at the map's cut.

    It is cut between its lowest and highest value, outliers aside, where
    Otsu's method separates them best.

    Args:
        heat: [T, h, w].

    Returns:
        The same shape; None when the map tells nothing apart.
    """
    values = _normalised(heat)
    if not values.any():
        return None
    cut = otsu(values)
    return SLOPE * (values - cut) / max(cut, 0.1)


def doubts(mask: torch.Tensor, given: bool = False) -> list[str]:
    r"""What is odd about a mask, and what to do.

    Args:
        mask: [F, H, W], 1 at the product.
        given: by the user, not found.
    """
    large = int((mask.mean((1, 2)) > LARGE).sum())
    now, then = mask[1:], mask[:-1]
    common = (now * then).sum((1, 2)) \
        / torch.maximum(now, then).sum((1, 2)).clamp_min(1)
    jumps = int((common < STEADY).sum())
    return [(GIVEN if given else FOUND).format(note.format(count))
            for note, count in ((TOO_LARGE, large), (JUMPS, jumps)) if count]


def _normalised(heat: torch.Tensor) -> torch.Tensor:
    r"""To [0, 1] between `QUANTILES`; 0 everywhere if they are the same."""
    low, high = torch.quantile(
        heat.flatten(), heat.new_tensor(QUANTILES)).tolist()
    extent = high - low
    if not extent > 1e-6 * max(abs(low), abs(high)):
        return torch.zeros_like(heat)
    return ((heat - low) / extent).clamp(0, 1)
