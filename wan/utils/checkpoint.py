r"""Reading weights: memory-mapped, safe, one clear message when they are wrong.

A network is built on the meta device and its tensors are assigned from the
mapped file, so loading needs no second copy in memory. Pickled files are read
with `weights_only=True`, which cannot run code (torch >= 2.6).
"""
import json
import pickle
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn as nn
from easydict import EasyDict
from safetensors import SafetensorError
from safetensors.torch import load_file

SHOWN_KEYS = 3
COPIED_AT_ONCE = 2**26


class CheckpointError(ValueError):
    r"""The weights cannot be read or do not fit the network."""


def find_weights(path: str | Path) -> Path:
    r"""The checkpoint at `path`, or its .safetensors variant beside it.

    Raises:
        CheckpointError: neither file exists.
    """
    path = Path(path)
    for candidate in (path, path.with_suffix('.safetensors')):
        if candidate.is_file():
            return candidate
    raise CheckpointError(
        f'No weights at {path} (nor as .safetensors beside it).')


def sidecar(path: str | Path) -> dict:
    r"""Constructor arguments from the .json beside a weights file.

    Official VAE and T5 files have none and mean the official sizes; a network
    of another size, such as a small one for tests, names its own there.

    Raises:
        CheckpointError: the file is not a JSON object.
    """
    file = Path(path).with_suffix('.json')
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f'{file} is not a JSON object of sizes: {error}') from error


def weight_files(folder: str | Path) -> list[Path]:
    r"""The safetensors files of a diffusers model folder, shards included.

    Raises:
        CheckpointError: no weights there, the index is damaged, or a shard of
            it is missing or elsewhere.
    """
    folder = Path(folder)
    stem = 'diffusion_pytorch_model'
    index = folder / f'{stem}.safetensors.index.json'
    if not index.is_file():
        return [find_weights(folder / f'{stem}.safetensors')]
    try:
        shards = json.loads(index.read_text())['weight_map'].values()
        names = sorted(set(map(str, shards)))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f'{index} is not an index of shards.') from error
    if any(Path(name).name != name for name in names):
        raise CheckpointError(f'{index} names files outside its folder.')
    return [find_weights(folder / name) for name in names]


def check_checkpoint(folder: str | Path, config: EasyDict) -> None:
    r"""Check that all parts are there, without reading them.

    Raises:
        ValueError: the folder is missing, or parts in it are; all are named.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f'Checkpoint folder {folder} is not a folder.')
    missing = []
    for part in (config.t5_checkpoint, config.vae_checkpoint):
        try:
            find_weights(folder / part)
        except CheckpointError:
            missing.append(part)
    for part in ('config.json', f'{config.t5_tokenizer}/tokenizer.json'):
        if not (folder / part).exists():
            missing.append(part)
    if missing:
        raise ValueError(
            f'Checkpoint {folder} is incomplete: no {", ".join(missing)}.')
    weight_files(folder)


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    r"""A checkpoint as memory-mapped tensors on the CPU, in stored dtypes.

    Raises:
        CheckpointError: the file is damaged or holds more than plain tensors.
    """
    path = Path(path)
    try:
        if path.suffix == '.safetensors':
            return load_file(path)
        state = torch.load(
            path, map_location='cpu', weights_only=True, mmap=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError,
            OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f'Cannot read {path}: {reason}') from error
    if not (isinstance(state, dict) and
            all(isinstance(v, torch.Tensor) for v in state.values())):
        raise CheckpointError(f'{path} is not a plain dict of tensors.')
    return state


def load_weights(
    model: nn.Module,
    files: str | Path | Iterable[str | Path],
    dtype: torch.dtype | None = None,
    device: torch.device | str = 'cpu',
) -> nn.Module:
    r"""Assign checkpoint tensors to a network built on the meta device.

    Args:
        model: network on the meta device; its `_keep_in_fp32_modules` names
            the parts that `dtype` leaves in float32.
        files: one file or the shards of one checkpoint.
        dtype: floating point dtype to keep; None keeps the stored one.
        device: where the weights go, tensor by tensor.

    Raises:
        CheckpointError: unreadable file, or missing, unexpected or mis-shaped
            keys; the message shows the first few of each and their counts.
    """
    files = [files] if isinstance(files, (str, Path)) else list(files)
    device = torch.device(device)
    wanted = {k: v.shape for k, v in model.state_dict().items()}
    fp32 = getattr(model, '_keep_in_fp32_modules', None) or []
    found, unexpected, misshaped = {}, [], []
    copied = {file: {} for file in files}
    for file in files:
        for key, value in read_weights(file).items():
            kept = _kept_dtype(key, value, dtype, fp32)
            if key not in wanted:
                unexpected.append(key)
            elif value.shape != wanted[key]:
                misshaped.append(f'{key} {tuple(value.shape)} instead of '
                                 f'{tuple(wanted[key])}')
            elif value.dtype == kept and device.type == 'cpu':
                found[key] = value
            else:
                copied[file][key] = kept
    missing = set(wanted).difference(found, *copied.values())
    if misshaped or unexpected or missing:
        missing = [k for k in wanted if k in missing
                   and not any(m.startswith(f'{k} ') for m in misshaped)]
        raise CheckpointError(_mismatch(
            files, missing=missing, unexpected=unexpected,
            misshaped=misshaped))
    for file, dtypes in copied.items():
        found |= _copies(file, dtypes, device)
    model.load_state_dict(found, assign=True)
    return model.eval().requires_grad_(False)


def _kept_dtype(key, value, dtype, fp32) -> torch.dtype:
    if dtype is None or not value.is_floating_point():
        return value.dtype
    return torch.float32 if set(fp32) & set(key.split('.')) else dtype


def _copies(
    file: str | Path, dtypes: dict[str, torch.dtype], device: torch.device
) -> dict[str, torch.Tensor]:
    r"""The named tensors in other dtypes, or on another device.

    Pages that were read stay resident as long as their mapping does, so the
    file is mapped anew for every `COPIED_AT_ONCE` bytes.
    """
    copies, left = {}, 0
    for key, dtype in dtypes.items():
        if left <= 0:
            mapped, left = read_weights(file), COPIED_AT_ONCE
        left -= mapped[key].nbytes
        copies[key] = mapped[key].to(device, dtype)
    return copies


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
