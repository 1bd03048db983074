r"""Tensors of long videos, which lie in a file and not in memory."""
import math
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress

import torch

# Smaller ones are not worth a file.
IN_MEMORY = 2**28


def empty(
    shape: Sequence[int], dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    r"""A CPU tensor to be filled; a large one is a file that is mapped.

    The system keeps in memory what it has room for. The file has no name any
    more, so it ends with the tensor, or with the process.

    Raises:
        OSError: there is no room for the file (TMPDIR names its folder).
    """
    count = math.prod(shape)
    if count * dtype.itemsize <= IN_MEMORY:
        return torch.empty(shape, dtype=dtype)
    number, path = tempfile.mkstemp(prefix='wan-')
    try:
        _reserve(number, count * dtype.itemsize)
        return torch.from_file(
            path, shared=True, size=count, dtype=dtype).view(*shape)
    finally:
        os.close(number)
        with suppress(OSError):  # not while it is mapped, on Windows
            os.unlink(path)


def _reserve(number: int, size: int) -> None:
    r"""Have the space now: a mapped file that finds none ends the process."""
    if hasattr(os, 'posix_fallocate'):
        os.posix_fallocate(number, 0, size)
    else:
        os.truncate(number, size)
