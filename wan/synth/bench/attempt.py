r"""A public attempt's way of reading the photo, kept to show how it fails.

Everything method.md, section 3, warns of, in one place and on purpose: keys
are taken before their norm and never rotated, while the queries that meet them
are normed and rotated; the photo's latent lacks the VAE's mean and deviation;
the whole photo is read everywhere, by every block and in every branch, so that
the push on the edit cancels with that on the source.
"""
import torch
from torch import Tensor

from wan.conditioning import Condition
from wan.edit_steps import EditSteps
from wan.modules.attention import attention
from wan.modules.model import RefSlot
from wan.refdrop.blend import blend
from wan.utils.progress import Progress


class AttemptSlot:
    r"""One block's: attends to keys [1, Lr, N, D] as their layer made them."""

    def __init__(self, key: Tensor, value: Tensor, c: float):
        self.key, self.value, self.c = key, value, c

    def __call__(self, q, k, v, x, q_rotated, k_rotated):
        keys, values = (part.expand(len(x), -1, -1, -1)
                        for part in (self.key, self.value))
        return blend(x, [attention(q_rotated, keys, values)], [self.c])


class AttemptSlots(list[RefSlot]):
    r"""Read the photo in every branch and at every step."""

    @classmethod
    def of(
        cls, pipe: EditSteps, photo: Tensor, condition: Condition, c: float
    ) -> 'AttemptSlots':
        r"""Slots of all blocks.

        Args:
            photo: [3, 1, H, W] in [-1, 1].
            condition: of the target prompt.
            c: weight of the photo's attention.
        """
        mean, std = (values.view(-1, 1, 1, 1)
                     for values in (pipe.vae.mean, pipe.vae.std))
        latent = pipe.encode_video(photo, Progress()) * std + mean
        return cls(AttemptSlot(key, value, c) for key, value in _projections(
            pipe, latent, condition))

    def reads(self, branch: str, t: float) -> bool:
        r"""Always."""
        return True

    def __call__(self, reads, t) -> list[RefSlot]:
        return self


def _projections(pipe, latent, condition) -> list[tuple[Tensor, Tensor]]:
    r"""Every block's K and V, [1, Lr, N, D], as their layers put them out."""
    outputs: dict[torch.nn.Module, Tensor] = {}

    def keep(layer, _, output):
        outputs[layer] = output

    attentions = [block.self_attn for block in pipe.model.blocks]
    hooks = [layer.register_forward_hook(keep)
             for attn in attentions for layer in (attn.k, attn.v)]
    try:
        pipe.denoiser([latent], 0., condition)
    finally:
        for hook in hooks:
            hook.remove()
    return [(attn.heads(outputs[attn.k]), attn.heads(outputs[attn.v]))
            for attn in attentions]
