r"""A captured bank on disk, to fill it once for many videos of a product."""
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..utils.checkpoint import CheckpointError
from ..utils.record import atomic_write
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


@dataclass(frozen=True)
class BankFile:
    r"""A file and what its bank depends on besides photos and settings."""
    path: Path
    key: str

    @classmethod
    def of(
        cls,
        path: str | Path,
        prompt: str,
        networks: Iterable[torch.nn.Module],
    ) -> 'BankFile':
        r"""The file of a prompt and a checkpoint's networks."""
        # A sample of every weight tells which checkpoint this is.
        weights = (p.flatten()[:64] for network in networks
                   for p in network.parameters())
        return cls(Path(path), bank_key(prompt, *weights))

    def load_or(
        self,
        fill: Callable[[], tuple[Reference, ...]],
        device: torch.device | str,
        *facts: object,
    ) -> tuple[Reference, ...]:
        r"""The references in the file, else filled and saved there.

        Args:
            fill: captures them.
            device: where loaded ones go.
            facts: photos, masks and settings they depend on.

        Raises:
            CheckpointError: see `load_bank`.
        """
        key = bank_key(self.key, *facts)
        if self.path.exists():
            return tuple(r.to(device) for r in load_bank(self.path, key))
        references = fill()
        save_bank(self.path, references, key)
        return references


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
    try:
        with safe_open(path, 'pt') as file:
            metadata = file.metadata() or {}
            if metadata.get('key') != key:
                raise CheckpointError(
                    f'--ref_bank {path} was made from another photo, prompt, '
                    f'model or settings; name a new file.')
            names = set(file.keys())
            return tuple(
                Reference(
                    *(tuple(file.get_tensor(f'{n}.{i}.{part}')
                            for i in range(int(metadata['depth'])))
                      for part in 'kv'),
                    grid=tuple(grid),
                    mask=file.get_tensor(f'{n}.mask')
                    if f'{n}.mask' in names else None)
                for n, grid in enumerate(json.loads(metadata['grids'])))
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(
            f'--ref_bank {path} is no readable bank: {error}') from error
