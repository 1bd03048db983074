r"""A step's evaluations spread over groups of processes.

Branches are evaluated in different groups and their velocities exchanged, so
that every process does every update with the same numbers. The noise comes
from each process's own generator of the same seed.
"""
from collections.abc import Callable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor

# As in `wan.velocity`: ({branch: latent}, t) -> {branch: velocity}.
Velocity = Callable[[Mapping[str, Tensor], float | Tensor], dict[str, Tensor]]


def spread_branches(v: Velocity, group: dist.ProcessGroup | None) -> Velocity:
    r"""The velocities of branches, each evaluated in one branch group.

    Args:
        v: evaluates in this process, or with those that share its tokens.
        group: this process's fellows of the other branch groups; None
            evaluates all branches here.
    """
    if group is None:
        return v
    size, own = dist.get_world_size(group), dist.get_rank(group)

    def by_branch(latents, t):
        names = list(latents)
        mine = {name: latents[name] for name in names[own::size]}
        found = v(mine, t) if mine else {}
        out = {}
        for i, name in enumerate(names):
            # Velocities are float32 whatever the model computes in.
            out[name] = found[name].contiguous() if name in found else \
                torch.empty(latents[name].shape, dtype=torch.float32,
                            device=latents[name].device)
            dist.broadcast(
                out[name], dist.get_global_rank(group, i % size), group)
        return out

    return by_branch
