r"""Where the product is in the template video, if no mask is given.

By the cross-attention to the words that name it, or by the difference that
the prompts make to the velocity. Either is a map of the video that `refine`
turns into a mask.
"""
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from ..conditioning import Condition
from ..modules.rope import token_grid
from ..modules.slots import CrossSlot, Share
from ..velocity import Denoiser
from .filters import blur, dilate, otsu
from .masks import Region

# Blocks of a model of 30 whose cross-attention shows where a word is.
MIDDLE_LAYERS = (11, 17)
MODEL_LAYERS = 30

# Sigmas at which the template is looked at.
SIGMAS = (0.8, 0.6)

# Ends of a map's values: what lies beyond are outliers.
QUANTILES = (0.01, 0.999)
# Standard deviation of the blur over time, in latent frames.
TIME_BLUR = 0.5
# Blur (standard deviation) and dilation of the mask as shares of the frame's
# shorter side: it is to stay coarse, see `mask_to_latent`.
SMOOTH, GROW = 0.03, 0.03


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
    latent: torch.Tensor,
    conditions: Mapping[str, Condition],
    words: Mapping[str, Sequence[int]],
    generator: torch.Generator,
) -> Region:
    r"""The product's place in a template, from what the model sees in it.

    Args:
        denoiser: the model.
        latent: the template, [C, T, h, w]; it is noised here.
        conditions: of the prompts 'source' and 'target'.
        words: for either prompt, or one of them, the positions of the words
            that name the product. Without any, the velocities are compared.
        generator: of the noise.

    Returns:
        The region; everything, and not `found`, when nothing tells.
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
                cross=probes[name].slots if probes else None)[0]
            for name in probes or ('source', 'target')}
        if not probes:
            differences.append(v['target'] - v['source'])
    if not probes:
        cells = velocity_mask(differences)
    else:
        grid = token_grid(latent.shape, model.patch_size)
        cells = attention_mask(
            [probe.map(grid) for probe in probes.values()], latent.shape)
    if cells is None:
        return Region(torch.ones(latent.shape[1:]).to(latent), found=False)
    return Region(cells)


def attention_mask(
    maps: Sequence[torch.Tensor],
    latent_shape: Sequence[int],
) -> torch.Tensor | None:
    r"""The product's place from the attention to its words.

    Args:
        maps: [f, h, w] in tokens, one for each group of words; each counts
            alike, whatever its size.
        latent_shape: ends in (T, h, w).

    Returns:
        As of `refine`.
    """
    mean = sum(_normalised(m.float()) for m in maps) / len(maps)
    heat = F.interpolate(
        mean[None, None], tuple(latent_shape[-3:]), mode='trilinear')
    return refine(heat[0, 0])


def velocity_mask(
    differences: Sequence[torch.Tensor]
) -> torch.Tensor | None:
    r"""The product's place from where two prompts' velocities differ.

    Args:
        differences: [C, T, h, w], target minus source without guidance, at
            some sigmas or noises.

    Returns:
        As of `refine`.
    """
    heat = sum(d.float().square().mean(0).sqrt() for d in differences)
    return refine(heat / len(differences))


def refine(heat: torch.Tensor) -> torch.Tensor | None:
    r"""A map that is high at the product to a mask: blur, cut, dilate.

    It is cut between its lowest and highest value, outliers aside, where
    Otsu's method separates them best.

    Args:
        heat: [T, h, w], of any scale.

    Returns:
        [T, h, w], 0 or 1; None when the map tells nothing apart.
    """
    side = min(heat.shape[1:])
    heat = blur(heat.float(), TIME_BLUR, 0)
    for dim in (1, 2):
        heat = blur(heat, SMOOTH * side, dim)
    heat = _normalised(heat)
    mask = dilate((heat > otsu(heat)).float(), math.ceil(GROW * side))
    return None if mask.min() == mask.max() else mask


def _normalised(heat: torch.Tensor) -> torch.Tensor:
    r"""To [0, 1] between `QUANTILES`; 0 everywhere if they are the same."""
    low, high = torch.quantile(
        heat.flatten(), heat.new_tensor(QUANTILES)).tolist()
    extent = high - low
    if not extent > 1e-6 * max(abs(low), abs(high)):
        return torch.zeros_like(heat)
    return ((heat - low) / extent).clamp(0, 1)
