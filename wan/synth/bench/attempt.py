r"""A public attempt's way of reading the photo, kept to show how it fails.

Everything method.md, section 3, warns of, in one place and on purpose: keys
are taken before their norm and never rotated, while the queries that meet them
are normed and rotated; the photo's latent lacks the VAE's mean and deviation;
the whole photo is read everywhere, by every block and in every branch, so that
the push on the edit cancels with that on the source.
"""
import math
from collections.abc import Callable

import torch
from torch import Tensor

from wan.branches import Slots
from wan.modules.attention import attention
from wan.pvtt import WanPVTT
from wan.refdrop.blend import blend


def attempt_slots(
    pipe: WanPVTT, photo: Tensor, prompt: Tensor, c: float
) -> Slots:
    r"""Slots that read the photo in every branch and at every step.

    Args:
        photo: [3, 1, H, W] in [-1, 1].
        prompt: embedding [L, C] of the target prompt.
        c: weight of the photo's attention.
    """
    mean, std = (
        values.view(-1, 1, 1, 1) for values in (pipe.vae.mean, pipe.vae.std))
    latent = pipe.encode_video(photo) * std + mean
    slots = [_slot(key, value, c)
             for key, value in _projections(pipe, latent, prompt)]
    return lambda names, sigma: slots


def _projections(pipe, latent, prompt) -> list[tuple[Tensor, Tensor]]:
    r"""Every block's K and V, [1, Lr, N, D], as their layers put them out."""
    outputs: dict[torch.nn.Module, Tensor] = {}

    def keep(layer, _, output):
        outputs[layer] = output

    attentions = [block.self_attn for block in pipe.model.blocks]
    hooks = [layer.register_forward_hook(keep)
             for attn in attentions for layer in (attn.k, attn.v)]
    try:
        tokens = math.prod(latent.shape[1:]) // math.prod(pipe.patch_size)
        pipe.model([latent], t=torch.zeros(1, device=latent.device),
                   context=[prompt], seq_len=tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return [(attn.heads(outputs[attn.k]), attn.heads(outputs[attn.v]))
            for attn in attentions]


def _slot(key: Tensor, value: Tensor, c: float) -> Callable[..., Tensor]:
    r"""A reference slot of one block, see `RefSlot`."""

    def read(q, k, v, x, grid_sizes, rotation, q_rotated):
        keys, values = (part.expand(len(x), -1, -1, -1)
                        for part in (key, value))
        return blend(x, [attention(q_rotated, keys, values)], [c])

    return read
