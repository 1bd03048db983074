r"""The team of a run of several processes, and how it is arranged."""
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist
import torch.nn as nn
from torch.distributed.fsdp import FSDPModule

from ..modules.model import WanModel
from ..runtime import Runtime
from ..team import ALONE, Alone
from ..utils.checkpoint import fingerprint, weight_files
from .branches import spread_branches
from .fsdp import load_sharded, shard_model
from .groups import Groups, from_first, world_size
from .mesh import Mesh
from .tiles import tile_share
from .xdit_context_parallel import SequenceParallel, check_engine

T = TypeVar('T')


def arranged(runtime: Runtime, heads: int) -> Mesh:
    r"""How the processes that were started are arranged.

    Args:
        heads: of the transformer.

    Raises:
        ValueError: several are needed and there is one, sizes that do not
            fit, or the attention engine is missing.
    """
    size = world_size()
    if size == 1:
        runtime.check_single()
        return Mesh()
    mesh = Mesh.of(
        size, heads, runtime.ulysses_size, runtime.ring_size,
        runtime.branch_parallel, runtime.t5_fsdp or runtime.dit_fsdp)
    if mesh.sp_size > 1:
        check_engine()
    return mesh


class Together(Alone):
    r"""One of several processes.

    It holds their groups: it must be gone when these are ended, see
    `processes`.

    Args:
        groups: of this process.
        vae_tiling: whether the VAE works in tiles, which are then shared.
    """

    def __init__(self, groups: Groups, vae_tiling: bool = False):
        self.groups = groups
        self.rank = dist.get_rank()
        self.share = SequenceParallel(groups) if groups.mesh.sp_size > 1 \
            else None
        self.tiles = tile_share() if vae_tiling else None

    @classmethod
    def of(cls, runtime: Runtime, heads: int) -> 'Together':
        r"""As a runtime arranges them; all processes call it.

        Raises:
            ValueError: see `arranged`; or no process group was started.
        """
        mesh = arranged(runtime, heads)
        if not dist.is_initialized():
            raise ValueError(
                'There is no process group: torch.distributed must be started '
                'first, see wan.distributed.groups.processes.')
        return cls(Groups.of(mesh, runtime.torch_device), runtime.vae_tiling)

    def first(self, make: Callable[[], T]) -> T:
        return from_first(make)

    def spread(self, v: Callable) -> Callable:
        return spread_branches(v, self.groups.branch)

    def load_model(
        self, kind: type[WanModel], folder: Path, runtime: Runtime
    ) -> WanModel:
        if not runtime.dit_fsdp:
            return super().load_model(kind, folder, runtime)
        model = load_sharded(
            kind.empty(folder),
            lambda: kind.from_pretrained(folder, runtime.torch_dtype),
            self.groups.weights, self.groups.device)
        model.made_of = from_first(
            lambda: fingerprint(weight_files(folder)))
        return model

    def encoder(
        self, make: Callable[[Callable | None], T], runtime: Runtime
    ) -> T | None:
        if runtime.t5_fsdp:
            return make(partial(shard_model, mesh=self.groups.weights))
        # One is enough: what it gives is small.
        return make(None) if self.rank == 0 else None

    def arranged(self, runtime: Runtime) -> Runtime:
        mesh = self.groups.mesh
        return replace(
            runtime, ulysses_size=mesh.ulysses, ring_size=mesh.ring)

    def moves(self, module: nn.Module) -> bool:
        return not isinstance(module, FSDPModule)


def team_of(runtime: Runtime, heads: int) -> Alone:
    r"""The processes that run with this one, as the runtime arranges them.

    Args:
        heads: of the transformer.

    Raises:
        ValueError: see `Together.of`.
    """
    return Together.of(runtime, heads) if runtime.parallel else ALONE
