r"""Product photos on their way into the bank."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..conditioning import Condition
from ..velocity import Denoiser
from .bank import Reference, capture
from .bank_file import BankFile


@dataclass(frozen=True)
class Photos:
    r"""Photos that are encoded, or were captured before.

    Args:
        latents: [C, 1, h, w] each; none where `kept` has them.
        masks: for each, [Lr], true for the product's tokens.
        noise_seed: of the noise mixed into the latents, the same for all
            sigmas so that a run repeats; None leaves them clean.
        file: where captured references are kept; None keeps them nowhere.
        kept: the references that were in the file.
        inputs: what the model sees beside each latent, see `Conditions`.
    """
    latents: tuple[torch.Tensor, ...]
    masks: tuple[torch.Tensor, ...]
    noise_seed: int | None = None
    file: BankFile | None = None
    kept: tuple[Reference, ...] | None = None
    inputs: tuple[Mapping[str, object], ...] = ()

    def references(
        self,
        denoiser: Denoiser,
        conditions: Sequence[Condition],
        sigmas: Sequence[float],
    ) -> tuple[Reference, ...]:
        r"""The photos as references, see `capture`; a condition for each."""
        if self.kept is not None:
            return self.kept
        captured = tuple(
            capture(denoiser, latent, condition, sigmas, noise, mask)
            for latent, condition, noise, mask in zip(
                self.latents, conditions, self._noises(), self.masks,
                strict=True))
        if self.file is not None:
            self.file.save(captured)
        return captured

    def _noises(self) -> list[torch.Tensor | None]:
        if self.noise_seed is None:
            return [None] * len(self.latents)
        generator = torch.Generator().manual_seed(self.noise_seed)
        return [torch.randn(z.shape, generator=generator).to(z)
                for z in self.latents]
