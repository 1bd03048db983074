r"""What the benchmark does to the velocities of an edit."""
import hashlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from wan.conditioning import Condition
from wan.velocity import Slots, Velocity


def remembered(
    v: Velocity,
    conditions: Mapping[str, Condition],
    slots: Slots | None,
    answers: dict[bytes, Tensor],
) -> Velocity:
    r"""A velocity that keeps what was answered without a reference.

    It depends on latent, timestep and condition alone. An editing step asks
    for the source's velocity at the same noise in every row: it is computed
    once. An answer from memory is the one that was computed, bit for bit.

    Args:
        v: what is asked.
        conditions: of each branch.
        slots: the reference that `v` reads.
        answers: the memory, shared by all of one pair's edits.
    """
    digests = {name: _digest(*condition.text.blocks[0])
               for name, condition in conditions.items()}

    def ask(latents, t):
        keys = {
            name: _digest(latent, torch.tensor(t)) + digests[name]
            for name, latent in latents.items()
            if slots is None or not slots.reads(name, t)}
        missing = {key: name for name, key in reversed(keys.items())
                   if key not in answers}
        wanted = {name: latent for name, latent in latents.items()
                  if name not in keys or missing.get(keys[name]) == name}
        out = v(wanted, t) if wanted else {}
        answers.update({key: out[name] for key, name in missing.items()})
        return {name: answers[keys[name]] if name in keys else out[name]
                for name in latents}

    return ask


def counted(
    v: Velocity, weights: Mapping[str, float], add: Callable[[float], None]
) -> Velocity:
    r"""A velocity that tells what each step costs.

    Args:
        weights: of each branch, its share of an evaluation of all tokens.
        add: is told the sum over the branches that were asked for.
    """

    def ask(latents, t):
        add(sum(weights[name] for name in latents))
        return v(latents, t)

    return ask


def _digest(*tensors: Tensor) -> bytes:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.float().cpu().contiguous().numpy())
    return digest.digest()
