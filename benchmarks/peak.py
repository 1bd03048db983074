r"""The most bytes of tensors that are alive at a time, on any device.

On the meta device too, which computes nothing: so the peak of a network of
full size is known on a laptop.
"""
import weakref
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    r"""Counts the storages that operations make while it is entered.

    Those that were there before do not count, nor does what a kernel needs
    within itself.

    Attributes:
        alive, most: bytes, now and at the peak.
    """

    def __init__(self):
        super().__init__()
        self.alive = self.most = 0
        self.known = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {x.untyped_storage()._cdata
                 for x in tree_leaves((args, kwargs))
                 if isinstance(x, torch.Tensor)}
        out = func(*args, **kwargs or {})
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                storage = x.untyped_storage()
                if storage._cdata not in given | self.known:
                    self._count(storage)
        return out

    def _count(self, storage):
        key, size = storage._cdata, storage.nbytes()
        self.known.add(key)
        self.alive += size
        self.most = max(self.most, self.alive)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key, size):
        self.known.discard(key)
        self.alive -= size


def peak_bytes(fn: Callable[[], object]) -> int:
    r"""The most that one call has alive, its result included."""
    with torch.no_grad(), Peak() as peak:
        fn()
    return peak.most
