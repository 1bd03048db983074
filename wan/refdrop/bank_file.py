r"""A captured bank on disk, to fill it once for many videos of a product."""
import json
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..utils.checkpoint import CheckpointError
from ..utils.record import atomic_write, check_writable
from .bank import Reference


def bank_key(*parts: object) -> str:
    r"""A hash of tensors, by their values, and of plain values."""
    digest = sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            data = part.float().cpu().contiguous().numpy().tobytes()
        elif isinstance(part, tuple):
            data = bank_key(*part).encode()
        else:
            data = repr(part).encode()
        digest.update(len(data).to_bytes(8, 'big') + data)
    return digest.hexdigest()


def check_bank(path: str | Path, photos: int) -> None:
    r"""Check that a bank can be read or, where none is, be written.

    Raises:
        ValueError: neither, or the file is of another number of photos.
    """
    if not Path(path).exists():
        return check_writable(path)
    with _opened(path) as (metadata, _):
        held = len(metadata['grids'])
    if held != photos:
        raise ValueError(
            f'The bank {path} holds {held} photos, {photos} are given.')


@dataclass(frozen=True)
class BankFile:
    r"""A file and a key of everything its bank depends on."""
    path: Path
    key: str

    @classmethod
    def of(
        cls,
        path: str | Path,
        networks: Iterable[torch.nn.Module],
        *facts: object,
    ) -> 'BankFile':
        r"""The file of a checkpoint, and of a prompt, photos and settings."""
        # A sample of every weight tells which checkpoint this is.
        weights = (p.flatten()[:64] for network in networks
                   for p in network.parameters())
        return cls(Path(path), bank_key(*weights, *facts))

    def load(
        self, device: torch.device | str
    ) -> tuple[Reference, ...] | None:
        r"""The references in the file, on a device; None if there is none.

        Raises:
            CheckpointError: see `load_bank`.
        """
        if not self.path.exists():
            return None
        return tuple(r.to(device) for r in load_bank(self.path, self.key))

    def save(self, references: Sequence[Reference]) -> None:
        r"""Keep captured references."""
        save_bank(self.path, references, self.key)


def save_bank(
    path: str | Path, references: Sequence[Reference], key: str
) -> None:
    r"""Write captured references as safetensors, whole or not at all."""
    tensors = {}
    for n, reference in enumerate(references):
        for i, (k, v) in enumerate(
                zip(reference.keys, reference.values, strict=True)):
            tensors[f'{n}.{i}.k'] = k.contiguous().cpu()
            tensors[f'{n}.{i}.v'] = v.contiguous().cpu()
        if reference.mask is not None:
            tensors[f'{n}.mask'] = reference.mask.cpu()
    metadata = {'key': key, 'grids': json.dumps(
        [r.grid for r in references]), 'depth': str(len(references[0].keys))}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_bank(path: str | Path, key: str) -> tuple[Reference, ...]:
    r"""Read references saved under the same key.

    Raises:
        CheckpointError: unreadable, or made from another photo, prompt, model
            or settings.
    """
    with _opened(path) as (metadata, file):
        if metadata['key'] != key:
            raise CheckpointError(
                f'The bank {path} was made from another photo, prompt, model '
                f'or settings; name a new file.')
        names = set(file.keys())
        return tuple(
            Reference(
                *(tuple(file.get_tensor(f'{n}.{i}.{part}')
                        for i in range(int(metadata['depth'])))
                  for part in 'kv'),
                grid=tuple(grid),
                mask=file.get_tensor(f'{n}.mask')
                if f'{n}.mask' in names else None)
            for n, grid in enumerate(metadata['grids']))


@contextmanager
def _opened(path):
    r"""A bank's (metadata, file); what is none raises CheckpointError."""
    try:
        with safe_open(path, 'pt') as file:
            metadata = dict(file.metadata() or {})
            yield metadata | {'grids': json.loads(metadata['grids'])}, file
    except (SafetensorError, OSError, KeyError, TypeError,
            json.JSONDecodeError) as error:
        raise CheckpointError(
            f'{path} is not a readable bank: {error}') from error
