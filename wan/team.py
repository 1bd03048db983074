r"""What a pipeline asks of the other processes of a run; alone there are none.

`wan.distributed.team` has the same for several.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch.nn as nn

from .modules.model import WanModel
from .modules.quantize import packing
from .modules.slots import Share
from .modules.tiling import TileShare
from .runtime import Runtime

T = TypeVar('T')


class Alone:
    r"""A run of one process.

    Attributes:
        rank: of this process.
        share: its share of the tokens; None has all of them.
        tiles: its share of the VAE's tiles; None has all of them.
    """
    rank: int = 0
    share: Share | None = None
    tiles: TileShare | None = None

    def first(self, make: Callable[[], T]) -> T:
        r"""What rank 0 makes, in every process."""
        return make()

    def spread(self, v: Callable) -> Callable:
        r"""A `Velocity` whose branches are evaluated by several groups."""
        return v

    def load_model(
        self, kind: type[WanModel], folder: Path, runtime: Runtime
    ) -> WanModel:
        r"""A folder's transformer, its weights on the CPU or spread."""
        dtype = runtime.torch_dtype
        return kind.from_pretrained(
            folder, dtype, pack=packing(runtime.quantize, dtype))

    def encoder(
        self, make: Callable[[Callable | None], T], runtime: Runtime
    ) -> T | None:
        r"""A text encoder; None where another process encodes.

        Args:
            make: is given what spreads its weights, or None.
        """
        return make(None)

    def arranged(self, runtime: Runtime) -> Runtime:
        r"""The runtime with the sizes that 'auto' stands for."""
        return runtime

    def moves(self, module: nn.Module) -> bool:
        r"""Whether a network's weights are this process's to move."""
        return True


ALONE = Alone()
