r"""Blocks whose weights are on the device only while they run.

The weights stay in host memory. While a block runs, those of the next are
copied; on CUDA from pinned memory, beside the computation.
"""
from collections.abc import Iterable, Iterator

import torch
import torch.nn as nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

# The lists of blocks of a network.
LISTS = ('blocks', 'vace_blocks')

# (module, name, weight) of all weights of a block.
Weights = list[tuple[nn.Module, str, torch.Tensor]]


class StreamedBlocks(nn.ModuleList):
    r"""A list of blocks: to walk it brings each one's weights and lets go.

    Weights are those of before, in name and value. A block that is not
    reached by walking has them in host memory. Moving the network to another
    device or dtype leaves them where they are.

    Args:
        blocks: their weights on the CPU; on CUDA they are pinned.
        device: where they run.
    """

    def __init__(self, blocks: Iterable[nn.Module], device: torch.device):
        super().__init__(blocks)
        self.device = device
        self.side = None
        if device.type == 'cuda':
            self.side = torch.cuda.Stream(device)
            for block in self._modules.values():
                _put((module, name, each(torch.Tensor.pin_memory, weight))
                     for module, name, weight in _weights(block))
        self.host = [_weights(block) for block in self._modules.values()]

    def _apply(self, fn, recurse=True):
        return self

    def __iter__(self) -> Iterator[nn.Module]:
        host, done = self.host, None
        ahead = self._fetched(host[0]) if host else None
        for i, block in enumerate(self._modules.values()):
            here, ready = ahead
            if done is not None:
                # Or the host would run ahead, and fill the memory with all.
                done.synchronize()
            ahead = self._fetched(host[i + 1]) if i + 1 < len(host) else None
            if ready is not None:
                torch.cuda.current_stream(self.device).wait_event(ready)
            _put(here)
            try:
                yield block
            finally:
                done = self._finished(here)
                _put(host[i])
            del here

    def _fetched(self, weights: Weights) -> tuple[Weights, object]:
        r"""A block's weights on the device, and when they are there."""
        def copy(x):
            return x.to(self.device, non_blocking=True, copy=True)

        if self.side is None:
            return [(m, n, each(copy, w)) for m, n, w in weights], None
        with torch.cuda.stream(self.side):
            here = [(m, n, each(copy, w)) for m, n, w in weights]
            return here, self.side.record_event()

    def _finished(self, weights: Weights):
        r"""When the block has run; its memory is not taken before."""
        if self.side is None:
            return None
        stream = torch.cuda.current_stream(self.device)
        for _, _, weight in weights:
            for part in parts(weight):
                part.record_stream(stream)
        return stream.record_event()


def stream_blocks(network: nn.Module, device: torch.device) -> nn.Module:
    r"""Have a network's blocks streamed to a device.

    Not for weights that FSDP spreads, which are put together in its own way.

    Returns:
        The same network.
    """
    for name in LISTS:
        if hasattr(network, name):
            setattr(network, name, StreamedBlocks(
                getattr(network, name), device))
    return network


def compile_blocks(network: nn.Module) -> nn.Module:
    r"""Have torch.compile make one program of all blocks of a kind.

    It is made when the first one runs, and again for another number of
    tokens, of which at most two programs are made. Before `stream_blocks`.

    Returns:
        The same network.
    """
    for name in LISTS:
        for block in getattr(network, name, ()):
            block.compile()
    return network


def parts(weight: torch.Tensor) -> list[torch.Tensor]:
    r"""The ordinary tensors that a weight is made of."""
    if not is_traceable_wrapper_subclass(weight):
        return [weight]
    return [getattr(weight, name) for name in weight.__tensor_flatten__()[0]]


def each(fn, weight: torch.Tensor) -> torch.Tensor:
    r"""The weight with a function applied to all that it is made of."""
    if not is_traceable_wrapper_subclass(weight):
        return fn(weight.detach())
    names, context = weight.__tensor_flatten__()
    return type(weight).__tensor_unflatten__(
        {name: fn(getattr(weight, name)) for name in names}, context,
        weight.size(), weight.stride())


def _weights(block: nn.Module) -> Weights:
    return [(module, name, weight) for module in block.modules()
            for kept in (module._parameters, module._buffers)
            for name, weight in kept.items() if weight is not None]


def _put(weights: Iterable[tuple[nn.Module, str, torch.Tensor]]) -> None:
    for module, name, weight in weights:
        if name in module._buffers:
            module._buffers[name] = weight
        else:
            module._parameters[name] = weight if isinstance(
                weight, nn.Parameter) else nn.Parameter(
                    weight, requires_grad=False)
