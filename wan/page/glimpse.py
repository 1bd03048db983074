r"""What a latent shows, without decoding it: colours as a linear map of it."""
from dataclasses import dataclass

import torch
from PIL import Image


@dataclass(frozen=True)
class Glimpse:
    r"""A linear map from latents to colours, fitted to a VAE.

    Args:
        weight: [3, C].
        bias: [3].
    """
    weight: torch.Tensor
    bias: torch.Tensor

    def colours(self, latent: torch.Tensor) -> torch.Tensor:
        r"""[C, ...] to RGB [3, ...] in [-1, 1]."""
        raise NotImplementedError

    def picture(self, latent: torch.Tensor) -> Image.Image:
        r"""The middle of a latent [C, T, h, w], eight times as large."""
        raise NotImplementedError
