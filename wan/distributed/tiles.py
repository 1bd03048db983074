r"""The tiles of the VAE spread over processes."""
import torch
import torch.distributed as dist

from ..modules.tiling import TileShare


def tile_share(group: dist.ProcessGroup | None = None) -> TileShare:
    r"""This process's share of the tiles, for `WanVAE(share=...)`.

    Args:
        group: the processes; None is all of them.
    """

    def total(x: torch.Tensor) -> torch.Tensor:
        dist.all_reduce(x, group=group)
        return x

    return TileShare(dist.get_rank(group), dist.get_world_size(group), total)
