r"""Reading weights: memory-mapped, safe, one clear message when they are wrong.

A network is built on the meta device and its tensors are assigned from the
mapped file, so loading needs no second copy in memory. Pickled files are read
with `weights_only=True`, which cannot run code (torch >= 2.6).
"""
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import torch.nn as nn
from safetensors import SafetensorError
from safetensors.torch import load_file

from .foreign import foreign_head
from .plain_files import reason
from .tensors import SCALES, is_finite, own_name, unfit

SHOWN_KEYS = 3
# Bytes that are mapped at a time to be copied or looked at.
AT_ONCE = 2**26
# Of a file's tensors that stay mapped so many bytes are looked at, evenly
# spread, which takes 0.1 s if the system has them cached: all of a VAE, and no
# minutes of reading 28 GB twice. What is copied is looked at whole, which adds
# nothing to be measured to the copying.
LOOKED_AT = 2**30


class CheckpointError(ValueError):
    r"""The weights cannot be read or do not fit the network."""


def check_head(path: Path) -> None:
    r"""See by its first bytes that a file is not something else.

    Raises:
        CheckpointError: it is, or it may not be read.
    """
    try:
        kind = foreign_head(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f'Cannot read {path}: {error}') from error
    if kind is not None:
        raise CheckpointError(f'Cannot read {path}: it is {kind}.')


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    r"""A checkpoint as memory-mapped tensors on the CPU, in stored dtypes.

    Raises:
        CheckpointError: the file is damaged, is something else, or holds more
            than plain tensors.
    """
    path = Path(path)
    try:
        check_head(path)
        if path.suffix == '.safetensors':
            return load_file(path)
        state = torch.load(
            path, map_location='cpu', weights_only=True, mmap=True)
    except CheckpointError:
        raise
    except (OSError, RuntimeError, SafetensorError) as error:
        told = reason(error).split('. ')[0]  # torch goes on to give advice
        raise CheckpointError(f'Cannot read {path}: {told}.') from error
    except Exception as error:  # a damaged pickle can raise any other
        raise CheckpointError(
            f'Cannot read {path}: its pickle is damaged or holds more than '
            f'tensors ({type(error).__name__}).') from error
    if not isinstance(state, dict):
        raise CheckpointError(
            f'{path} is not a plain dict of tensors but of type '
            f'{type(state).__name__}.')
    for key, value in state.items():
        if not (isinstance(key, str) and isinstance(value, torch.Tensor)):
            raise CheckpointError(
                f'{path} is not a plain dict of tensors: its entry '
                f'{str(key)[:80]!r} is of type {type(value).__name__}, its '
                f'name of type {type(key).__name__}.')
    return state


def load_weights(
    model: nn.Module,
    files: str | Path | Iterable[str | Path],
    dtype: torch.dtype | None = None,
    device: torch.device | str = 'cpu',
    unused: tuple[str, ...] = (),
    pack: Callable[[str, torch.Tensor], torch.Tensor] | None = None,
) -> nn.Module:
    r"""Assign checkpoint tensors to a network built on the meta device.

    The prefixes that other programs put before the names are left out. NaN
    and infinity are looked for: in every number that is copied, and in up to
    `LOOKED_AT` bytes, evenly spread, of what stays mapped in a file.

    Args:
        model: network on the meta device; its `_keep_in_fp32_modules` names
            the parts that `dtype` leaves in float32.
        files: one file or the shards of one checkpoint.
        dtype: floating point dtype to keep; None keeps the stored one.
        device: where the weights go, tensor by tensor.
        unused: how the names of tensors begin that the files may hold, and
            the network has no use for; they are not read.
        pack: (name, weight) -> what is kept of it; called of one weight after
            the other, so that no two copies of all are held.

    Raises:
        CheckpointError: unreadable file; missing, unexpected or mis-shaped
            keys, of which the message shows the first few and their counts;
            tensors that are no weights, such as integers or fp8, or not
            finite, of which it names the first.
    """
    files = [files] if isinstance(files, (str, Path)) else list(files)
    device = torch.device(device)
    fp32 = set(getattr(model, '_keep_in_fp32_modules', None) or ())
    wanted = dict(model.state_dict())
    found, sources = _matched(files, wanted, unused)
    for file, names in sources.items():
        for key, stored in names.items():
            why = unfit(found[key], wanted[key])
            if why is not None:
                raise CheckpointError(f'{file}: {stored} {why}.')
        _settle(file, names, found, {
            key: _kept_dtype(key, found[key], dtype, fp32) for key in names
        }, device, pack)
    model.load_state_dict(found, assign=True)
    return model.eval().requires_grad_(False)


def _matched(
    files: list[str | Path],
    wanted: dict[str, torch.Tensor],
    unused: tuple[str, ...],
) -> tuple[dict[str, torch.Tensor], dict[str | Path, dict[str, str]]]:
    r"""The mapped tensor of every wanted name, and for each file the names it
    has of them, with those that they are stored under."""
    found, sources, unexpected, misshaped = {}, {}, [], []
    for file in files:
        state = read_weights(file)
        _check_scales(file, state)
        sources[file] = {}
        for stored, value in state.items():
            key = own_name(stored, wanted)
            if key not in wanted:
                if not stored.startswith(unused):
                    unexpected.append(stored)
                continue
            if key in found:
                raise CheckpointError(
                    f'{file}: {stored} is given a second time.')
            found[key], sources[file][key] = value, stored
            if value.shape != wanted[key].shape:
                misshaped.append(f'{key} {tuple(value.shape)} instead of '
                                 f'{tuple(wanted[key].shape)}')
    missing = [key for key in wanted if key not in found]
    if misshaped or unexpected or missing:
        raise CheckpointError(_mismatch(
            files, missing=missing, unexpected=unexpected,
            misshaped=misshaped))
    return found, sources


def _check_scales(file: str | Path, state: dict[str, torch.Tensor]) -> None:
    r"""Refuse fp8, first of all since its scales would be unexpected keys."""
    for key, value in state.items():
        if value.is_floating_point() and value.dtype.itemsize == 1:
            scales = any(k.endswith(SCALES) for k in state)
            have = ('with scales, which are' if scales else
                    'without the scales that such numbers need, which is')
            dtype = str(value.dtype).removeprefix('torch.')
            raise CheckpointError(
                f'{file}: {key} is {dtype} {have} not supported; needed are '
                f'weights in bfloat16, float16 or float32.')


def _kept_dtype(key, value, dtype, fp32) -> torch.dtype:
    if dtype is None or not value.is_floating_point():
        return value.dtype
    return torch.float32 if fp32 & set(key.split('.')) else dtype


def _settle(
    file: str | Path,
    names: dict[str, str],
    found: dict[str, torch.Tensor],
    dtypes: dict[str, torch.dtype],
    device: torch.device,
    pack: Callable[[str, torch.Tensor], torch.Tensor] | None,
) -> None:
    r"""Put a file's tensors where they go, and see that they are finite.

    Pages that were read stay resident as long as their mapping does, so the
    file is mapped anew for every `AT_ONCE` bytes; tensors that stay as they
    are keep the first mapping, of which nothing is read.
    """
    mapped_bytes = sum(
        found[key].nbytes for key, dtype in dtypes.items()
        if found[key].dtype == dtype and device.type == 'cpu')
    spread = -(-mapped_bytes // LOOKED_AT)
    left = 0
    for key, stored in names.items():
        if left <= 0:
            mapped, left = read_weights(file), AT_ONCE
        value, step = mapped[stored], spread
        if value.dtype != dtypes[key] or device.type != 'cpu':
            value = found[key] = value.to(device, dtypes[key])
            step = 1
        left -= mapped[stored].nbytes // step
        if not is_finite(value, step):
            raise CheckpointError(
                f'{file}: {stored} holds NaN or infinity: the file is '
                f'damaged.')
        if pack is not None:
            found[key] = pack(key, value)


def _mismatch(files: list, **problems: list[str]) -> str:
    where = str(files[0]) + (f' (+{len(files) - 1} more)'
                             if len(files) > 1 else '')
    told = []
    for name, keys in problems.items():
        if keys:
            shown = ', '.join(keys[:SHOWN_KEYS])
            more = ', ...' if len(keys) > SHOWN_KEYS else ''
            told.append(f'{len(keys)} {name} ({shown}{more})')
    return f'{where} does not fit the network: {"; ".join(told)}.'
