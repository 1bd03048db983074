r"""Stored tensors: are they weights at all?"""
from collections.abc import Container

import torch

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# What trainers and other programs put before the official names.
PREFIXES = ('model.diffusion_model.', 'module.')
# How fp8 files name the scales without which their numbers mean nothing.
SCALES = ('scale_weight', 'weight_scale', 'scaled_fp8', 'comfy_quant')
BLOCK = 2**15


def whole(x: torch.Tensor) -> torch.Tensor:
    r"""A tensor that is spread over processes, put together in each.

    All of them must ask for it; any other tensor is returned as it is.
    """
    return getattr(x, 'full_tensor', lambda: x)()


def own_name(key: str, wanted: Container[str]) -> str:
    r"""A stored name without the prefixes that a network has no use for."""
    name = key
    while name not in wanted:
        prefix = next(filter(name.startswith, PREFIXES), None)
        if prefix is None:
            return key
        name = name.removeprefix(prefix)
    return name


def unfit(value: torch.Tensor, wanted: torch.Tensor) -> str | None:
    r"""Why a stored tensor is no weight in place of one of a network.

    Args:
        wanted: the network's own; on the meta device.

    Returns:
        A phrase such as 'is int64, ...'; None if it may be used.
    """
    if value.is_meta:
        return 'has no numbers, only a shape (it was saved on the meta device)'
    if value.layout != torch.strided or value.is_quantized:
        return 'is stored sparse or quantised, needed is a plain tensor'
    dtype = str(value.dtype).removeprefix('torch.')
    if not wanted.dtype.is_floating_point:
        needed = str(wanted.dtype).removeprefix('torch.')
        return None if dtype == needed else f'is {dtype}, needed is {needed}'
    if value.dtype not in DTYPES:
        return (f'is {dtype}, needed is one of '
                f'{", ".join(str(d).removeprefix("torch.") for d in DTYPES)}')
    return None


def is_finite(value: torch.Tensor, step: int = 1) -> bool:
    r"""Whether a tensor holds neither NaN nor infinity.

    Args:
        value: of any shape; what is no floating point always is.
        step: look at every so many blocks of 32768 numbers, and at the last.
    """
    if not value.is_floating_point():
        return True
    flat = value.detach().flatten()
    whole = flat[:flat.numel() // BLOCK * BLOCK].view(-1, BLOCK)[::step]
    # Minimum and maximum keep NaN and infinity, in a tenth of the time that
    # isfinite takes.
    return all(
        torch.isfinite(torch.stack(torch.aminmax(part))).all().item()
        for part in (whole, flat[flat.numel() // BLOCK * BLOCK:])
        if part.numel())
