r"""Where the product is in the template video, if no mask is given.

By the cross-attention to the words that name it, or by the difference that
the prompts make to the velocity. Either is a map of the video that `refine`
turns into a mask.
"""
import logging
import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F

from ..modules.model import TextContext
from ..modules.rope import token_grid
from .filters import blur, dilate, otsu

log = logging.getLogger(__name__)

# Blocks of a model of 30 whose cross-attention shows where a word is.
MIDDLE_LAYERS = (11, 17)
MODEL_LAYERS = 30

# Levels at which the template is looked at.
SIGMAS = (0.8, 0.6)

# Ends of a map's values: what lies beyond are outliers.
QUANTILES = (0.01, 0.999)
# Standard deviation of the blur over time, in latent frames.
TIME_BLUR = 0.5


class WordAttention(TextContext):
    r"""A text context that records where its words are looked at.

    Given to `WanModel` in place of a plain list, it keeps the probability
    with which each video token attends to the chosen text tokens: the mean
    over these, over heads, samples, the middle layers and all forwards.

    Args:
        embeddings: as for `TextContext`; the samples share their text.
        positions: of the words' tokens, see `token_positions`.
        layers: the model's number of blocks.
        chunk: queries at a time, which bounds the memory.
    """

    def __init__(
        self,
        embeddings: Sequence[torch.Tensor],
        positions: Sequence[int],
        layers: int,
        chunk: int = 1024,
    ):
        super().__init__(embeddings)
        first, last = MIDDLE_LAYERS
        self.positions = list(positions)
        self.layers = range(
            first * layers // MODEL_LAYERS,
            math.ceil((last + 1) * layers / MODEL_LAYERS))
        self.chunk = chunk
        self.total: torch.Tensor | float = 0.
        self.count = 0

    def observe(self, attn: torch.nn.Module, q: torch.Tensor) -> None:
        r"""Adds one layer's probabilities; queries [B, L, N, D]."""
        # Blocks run in order, so their projections were cached in order.
        if list(self.projected).index(attn) not in self.layers:
            return
        keys = self.projected[attn][0].float()
        self.total = self.total + torch.cat([
            self._probability(part.float(), keys)
            for part in q.split(self.chunk, dim=1)
        ])
        self.count += 1

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
            raise ValueError('No forward has been given this context.')
        return (self.total / self.count).view(*grid)


def find_product(
    model: Callable,
    latent: torch.Tensor,
    prompts: Mapping[str, torch.Tensor],
    words: Mapping[str, Sequence[int]],
    generator: torch.Generator,
) -> torch.Tensor:
    r"""The product's place in a template, from what the model sees in it.

    Args:
        model: a `WanModel`.
        latent: the template, [C, T, h, w]; it is noised here.
        prompts: embeddings [L, C] of 'source' and 'target'.
        words: for either prompt, or one of them, the positions of the words
            that name the product. Without any, the velocities are compared.
        generator: of the noise.

    Returns:
        [T, h, w], 0 or 1.
    """
    grid = token_grid(latent.shape, model.patch_size)
    probes = {
        name: WordAttention([prompts[name]], positions, len(model.blocks))
        for name, positions in words.items()
    }
    contexts = probes or {
        name: [prompts[name]] for name in ('source', 'target')}
    differences = []
    for sigma in SIGMAS:
        noise = torch.randn(
            latent.shape, generator=generator, device=generator.device)
        x = (1 - sigma) * latent + sigma * noise.to(latent)
        t = torch.tensor([1000. * sigma], device=latent.device)
        v = {
            name: model([x], t=t, context=context, seq_len=math.prod(grid))[0]
            for name, context in contexts.items()
        }
        if not probes:
            differences.append(v['target'] - v['source'])
    if not probes:
        return velocity_mask(differences)
    maps = [probe.map(grid) for probe in probes.values()]
    return attention_mask(maps, latent.shape)


def attention_mask(
    maps: Sequence[torch.Tensor],
    latent_shape: Sequence[int],
    **options: float | None,
) -> torch.Tensor:
    r"""The product's place from the attention to its words.

    Args:
        maps: [f, h, w] in tokens, one for each group of words; each counts
            alike, whatever its size.
        latent_shape: ends in (T, h, w).
        options: of `refine`.

    Returns:
        [T, h, w], 0 or 1.
    """
    mean = sum(_normalised(m.float()) for m in maps) / len(maps)
    heat = F.interpolate(
        mean[None, None], tuple(latent_shape[-3:]), mode='trilinear')
    return refine(heat[0, 0], **options)


def velocity_mask(
    differences: Sequence[torch.Tensor], **options: float | None
) -> torch.Tensor:
    r"""The product's place from where two prompts' velocities differ.

    Args:
        differences: [C, T, h, w], target minus source without guidance, at
            some levels or noises.
        options: of `refine`.

    Returns:
        [T, h, w], 0 or 1.
    """
    heat = sum(d.float().square().mean(0).sqrt() for d in differences)
    return refine(heat / len(differences), **options)


def refine(
    heat: torch.Tensor,
    threshold: float | None = None,
    smooth: float = 0.03,
    grow: float = 0.03,
) -> torch.Tensor:
    r"""A map that is high at the product to a mask: blur, cut, dilate.

    Args:
        heat: [T, h, w], of any scale.
        threshold: in [0, 1] between the map's lowest and highest value,
            outliers aside; None chooses Otsu's.
        smooth, grow: blur (standard deviation) and dilation as shares of
            the frame's shorter side. The mask is to stay coarse, see
            `mask_to_latent`.

    Returns:
        [T, h, w], 0 or 1; all ones, with a warning in the log, when the map
        tells nothing apart.
    """
    side = min(heat.shape[1:])
    heat = blur(heat.float(), TIME_BLUR, 0)
    for dim in (1, 2):
        heat = blur(heat, smooth * side, dim)
    heat = _normalised(heat)
    cut = otsu(heat) if threshold is None else threshold
    mask = dilate((heat > cut).float(), math.ceil(grow * side))
    if mask.min() == mask.max():
        log.warning(
            'The product was not found in the video: the edit is not '
            'limited to a part of it. A mask can be given instead.')
        return torch.ones_like(mask)
    return mask


def _normalised(heat: torch.Tensor) -> torch.Tensor:
    r"""To [0, 1] between `QUANTILES`; 0 everywhere if they are the same."""
    low, high = torch.quantile(
        heat.flatten(), heat.new_tensor(QUANTILES)).tolist()
    extent = high - low
    if not extent > 1e-6 * max(abs(low), abs(high)):
        return torch.zeros_like(heat)
    return ((heat - low) / extent).clamp(0, 1)
