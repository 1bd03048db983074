r"""Weights of the blocks' linear layers in 8 bits, put back when they are used.

Each output channel has a scale of its own. What is saved is memory: the
products are computed in the network's own dtype, of one layer's weight at a
time.
"""
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import return_and_correct_aliasing

# The dtype of the codes, and the largest of them.
KINDS = {
    'int8': (torch.int8, 127.0),
    'fp8': (torch.float8_e4m3fn, 448.0),
}
# What gives a tensor like its input, and so may be done to its parts.
_ALIKE = (
    torch.ops.aten.alias.default,
    torch.ops.aten.clone.default,
    torch.ops.aten.detach.default,
)

# (name, weight) -> what is kept of it.
Pack = Callable[[str, torch.Tensor], torch.Tensor]


class Quantized(torch.Tensor):
    r"""A weight [out, in] as codes and scales: codes * scales.

    To all that asks it is a tensor of the dtype it is computed in. To move it
    moves its parts; whatever else is done to it is done to the product.

    Args:
        codes: [out, in], of one of `KINDS`.
        scales: [out, 1], of the dtype that is computed in.
    """

    @staticmethod
    def __new__(cls, codes: torch.Tensor, scales: torch.Tensor):
        return torch.Tensor._make_wrapper_subclass(
            cls, codes.shape, strides=codes.stride(), dtype=scales.dtype,
            device=codes.device)

    def __init__(self, codes: torch.Tensor, scales: torch.Tensor):
        self.codes = codes
        self.scales = scales

    def __repr__(self) -> str:
        return (f'Quantized({list(self.shape)}, {self.codes.dtype}, '
                f'{self.dtype}, {self.device})')

    @property
    def stored_bytes(self) -> int:
        r"""Of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def product(self) -> torch.Tensor:
        r"""The weight [out, in] as an ordinary tensor."""
        return self.codes.to(self.scales.dtype).mul_(self.scales)

    def __tensor_flatten__(self):
        return ['codes', 'scales'], None

    @staticmethod
    def __tensor_unflatten__(parts, context, size, stride):
        return Quantized(parts['codes'], parts['scales'])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if _moves(func, args, kwargs):
            # The codes have a dtype of their own, which they keep.
            kwargs = {k: v for k, v in kwargs.items() if k != 'dtype'}
        if func in _ALIKE or 'dtype' not in kwargs and \
                func is torch.ops.aten._to_copy.default:
            given = args[0]
            out = cls(func(given.codes, *args[1:], **kwargs),
                      func(given.scales, *args[1:], **kwargs))
            return return_and_correct_aliasing(func, args, kwargs, out)
        args, kwargs = torch.utils._pytree.tree_map_only(
            cls, Quantized.product, (args, kwargs))
        return func(*args, **kwargs)


def _moves(func, args, kwargs) -> bool:
    r"""Whether a conversion is to another device alone."""
    return func is torch.ops.aten._to_copy.default and \
        kwargs.get('dtype') in (None, args[0].dtype)


def quantized(
    weight: torch.Tensor, kind: str, dtype: torch.dtype
) -> Quantized:
    r"""The nearest codes and scales of a weight.

    Args:
        weight: [out, in], of any floating point dtype.
        kind: a key of `KINDS`.
        dtype: that is computed in; the scales are exact in it.
    """
    kept, largest = KINDS[kind]
    weight = weight.float()
    scales = (weight.abs().amax(1, keepdim=True) / largest).to(dtype)
    # Rounded down, a scale would push the largest weight out of range.
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    codes = (weight / scales.float()).clamp_(-largest, largest)
    return Quantized(
        (codes.round_() if kind == 'int8' else codes).to(kept), scales)


def packing(kind: str, dtype: torch.dtype) -> Pack | None:
    r"""What `load_weights` does to each weight as it is read.

    Args:
        kind: a key of `KINDS`, or 'none' for nothing.
        dtype: see `quantized`.
    """
    if kind == 'none':
        return None
    return lambda name, value: quantized(value, kind, dtype) \
        if _is_packed(name, value) else value


def packed_size(
    name: str, weight: torch.Tensor, kind: str, dtype: torch.dtype
) -> int | None:
    r"""Bytes of what `packing` keeps of a weight; None if it is left."""
    if kind == 'none' or not _is_packed(name, weight):
        return None
    return weight.numel() * KINDS[kind][0].itemsize + \
        len(weight) * dtype.itemsize


def _is_packed(name: str, weight: torch.Tensor) -> bool:
    inside = name.startswith(('blocks.', 'vace_blocks.'))
    return inside and weight.ndim == 2 and 'embedding' not in name
