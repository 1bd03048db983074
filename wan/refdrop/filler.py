r"""Filling a bank with product photos, at any levels."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from .bank import Reference, capture
from .bank_file import BankFile


@dataclass
class BankFiller:
    r"""Levels in [0, 1] -> the photos as references captured there.

    Args:
        model: a `WanModel`.
        encode: a photo [3, 1, H, W] in [-1, 1] to its latent [C, 1, h, w].
        photos: with their masks, as from `prepare_photo`.
        product: for each photo, [Lr], true for the product's tokens.
        context: the target prompt's embedding.
        noise_seed: of the noise mixed into the photos; None leaves them
            clean.
        file: keeps the references; None captures them every time.
    """
    model: Callable
    encode: Callable[[torch.Tensor], torch.Tensor]
    photos: Sequence[tuple[torch.Tensor, torch.Tensor]]
    product: Sequence[torch.Tensor]
    context: Sequence[torch.Tensor]
    noise_seed: int | None = None
    file: BankFile | None = None

    def __call__(self, levels: Sequence[float]) -> tuple[Reference, ...]:
        if self.file is None:
            return self.captured(levels)
        return self.file.load_or(
            lambda: self.captured(levels), self.context[0].device,
            *self.photos, *self.product, levels, self.noise_seed)

    @cached_property
    def latents(self) -> list[torch.Tensor]:
        r"""The photos encoded, once for all levels."""
        return [self.encode(rgb) for rgb, _ in self.photos]

    def captured(self, levels: Sequence[float]) -> tuple[Reference, ...]:
        r"""The references, file or not."""
        return tuple(
            capture(self.model, latent, self.context, levels, noise, mask)
            for latent, noise, mask in zip(
                self.latents, self._noises(), self.product, strict=True))

    def _noises(self) -> list[torch.Tensor | None]:
        r"""The same for all levels, so that a run repeats."""
        if self.noise_seed is None:
            return [None] * len(self.latents)
        generator = torch.Generator().manual_seed(self.noise_seed)
        return [torch.randn(z.shape, generator=generator).to(z)
                for z in self.latents]
