r"""Starting and ending a run of several processes, and what they agree on."""
import gc
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from .mesh import Mesh

T = TypeVar('T')
# Seconds that a process waits for the others before it gives up.
TIMEOUT = 600.


def world_size() -> int:
    r"""How many processes torchrun, or what is like it, has started."""
    return int(os.environ.get('WORLD_SIZE', '1'))


def local_device() -> torch.device:
    r"""This process's own CUDA device, or the CPU where there is none.

    Raises:
        ValueError: more processes than CUDA devices on this computer.
    """
    if not torch.cuda.is_available():
        return torch.device('cpu')
    number, count = int(os.environ.get('LOCAL_RANK', '0')), \
        torch.cuda.device_count()
    if number >= count:
        raise ValueError(
            f'Process {number} of this computer has no CUDA device: there '
            f'are {count}.')
    return torch.device('cuda', number)


@contextmanager
def processes(
    device: torch.device, timeout: float = TIMEOUT, **where: Any
) -> Iterator[None]:
    r"""The default process group, ended however the block ends.

    Inside, whatever holds a group must be local: one that outlives the block
    can abort the interpreter's exit.

    Args:
        device: of this process; CUDA speaks nccl, all else gloo.
        timeout: seconds to wait for the others.
        where: `init_method`, `rank` and `world_size` of torch's
            `init_process_group`; the environment's if not given.
    """
    cuda = device.type == 'cuda'
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group(
        'nccl' if cuda else 'gloo', timeout=timedelta(seconds=timeout),
        device_id=device if cuda else None, **where)
    try:
        yield
    finally:
        gc.collect()
        dist.destroy_process_group()


@dataclass(frozen=True)
class Groups:
    r"""This process's groups.

    Args:
        mesh: the sizes.
        device: of this process.
        weights: processes of its branch group, which share the weights.
        branch: its fellows of the other branch groups, which compute the
            same tokens of other branches; None in one group.
        ring, ulysses: None where tokens are not shared.
    """
    mesh: Mesh
    device: torch.device
    weights: DeviceMesh
    branch: dist.ProcessGroup | None = None
    ring: dist.ProcessGroup | None = None
    ulysses: dist.ProcessGroup | None = None

    @classmethod
    def of(cls, mesh: Mesh, device: torch.device) -> 'Groups':
        r"""The groups of an arrangement, made by all processes together.

        Raises:
            ValueError: it is of another number of processes.
        """
        if mesh.size != dist.get_world_size():
            raise ValueError(
                f'The arrangement is of {mesh.size} processes, '
                f'{dist.get_world_size()} are running.')
        outer = init_device_mesh(
            device.type, (mesh.branch, mesh.group_size),
            mesh_dim_names=('branch', 'weights'))
        branch = outer.get_group('branch') if mesh.branch > 1 else None
        if mesh.sp_size == 1:
            return cls(mesh, device, outer['weights'], branch)
        inner = init_device_mesh(
            device.type, (mesh.branch, mesh.ring, mesh.ulysses),
            mesh_dim_names=('branch', 'ring', 'ulysses'))
        return cls(mesh, device, outer['weights'], branch,
                   inner.get_group('ring'), inner.get_group('ulysses'))


def from_first(make: Callable[[], T]) -> T:
    r"""What rank 0 makes, in every process.

    Only rank 0 calls `make`; if that raises, all processes raise the same.
    For seeds, and for whatever is decided by values or read from a file.

    Args:
        make: gives a small value that can be pickled.
    """
    if not dist.is_initialized():
        return make()
    kept: list[Any] = [None, None]
    own: Exception | None = None
    if dist.get_rank() == 0:
        try:
            kept[0] = make()
        except Exception as error:
            own, kept[1] = error, _portable(error)
    dist.broadcast_object_list(kept, src=0)
    if own is not None:
        raise own
    if kept[1] is not None:
        kept[1].told = True  # by rank 0
        raise kept[1]
    return kept[0]


def _portable(error: Exception) -> Exception:
    r"""The error, or its text where it does not survive being pickled."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f'{type(error).__name__}: {error}')
