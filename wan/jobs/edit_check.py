r"""Whether anything of the photo arrives: the edit with another photo.

The other photo is the same one, its product in other colours: in each channel
they are moved by half of the range, up where the product is dark on the whole
and down where it is bright. So it has the same outline, light and texture and
surely other colours, that of a grey product too. All else is equal, the noise
included, so what differs between the two results is the photo's doing.
"""
import numpy as np
import torch
from PIL import Image

from ..product.photo import Product
from ..pvtt import PVTTResult

MOVED = 0.5
# A result is written in 256 levels: less than two of them is lost in writing.
LEAST = 2 / 255

NO_EFFECT = (
    'With a photo of other colours the result differs by {effect:.4f} of the '
    'range where the product is, less than two of the 256 levels that a video '
    'has: nothing of the photo is to be seen. The mask misses the product, or '
    'collage_zeta_scale and ref_c are too small.')


def recoloured(product: Product) -> Product:
    r"""The same photo, its product in other colours."""
    rgb = np.asarray(product.on_white, np.float32) / 255
    alpha = product.alpha.numpy()[..., None]
    mean = (rgb * alpha).sum((0, 1)) / alpha.sum()
    other = (rgb + np.where(mean < 0.5, MOVED, -MOVED)).clip(0, 1)
    mixed = ((1 - alpha) * rgb + alpha * other) * 255
    return Product(
        Image.fromarray(mixed.round().astype(np.uint8)),
        Image.fromarray((alpha[..., 0] * 255).round().astype(np.uint8)))


def photo_effect(result: PVTTResult, other: PVTTResult) -> float:
    r"""Mean absolute difference of two results where the edit may change the
    video, 0 to 1 of the range of colours."""
    difference = (result.video - other.video).abs().mean(0) / 2
    mask = result.mask
    if mask is None:
        return difference.mean().item()
    weight = mask.to(torch.float64)
    return ((difference * weight).sum() / weight.sum()).item()


def effect_notes(effect: float) -> tuple[str, ...]:
    r"""A sentence where nothing of a photo arrives."""
    return (NO_EFFECT.format(effect=effect),) * (effect < LEAST)
