r"""Captured references on disk, to capture them once for many videos.

Nothing in the file is taken on trust: whatever a bank must agree with (the
photos, the prompt, the settings, the model) is computed anew and compared, as
a hash for each, so that a message can say which of them differs.
"""
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..modules.model import WanModel
from ..modules.rope import Grid
from ..product.masks import token_mask
from ..utils.checkpoint import CheckpointError
from ..utils.plain_files import open_plain, reason
from ..utils.record import atomic_write, check_writable
from ..utils.tensors import DTYPES, is_finite, whole
from .bank import Reference
from .config import RefConfig

VERSION = '2'
FACTS_CHARS = 4096
# What a bank depends on, as a message names it.
PHRASES = {
    'prompt': 'another prompt',
    'photos': 'another photo, mask or size',
    'settings': 'other settings (ref_t, ref_noised and its seed)',
    'checkpoint': 'another checkpoint',
    'weights': 'other weights, or weights in another dtype',
}


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
    r"""A file of references, and all that they must agree with.

    Args:
        path: of the file; it need not be there.
        depth: number of the model's blocks.
        heads, head_dim: of its attention.
        grid: of each photo's tokens.
        masks: of each photo, [Lr], true for the product's tokens.
        facts: a hash of each thing that the references depend on.
    """
    path: Path
    depth: int
    heads: int
    head_dim: int
    grid: Grid
    masks: tuple[torch.Tensor, ...]
    facts: Mapping[str, str]

    @classmethod
    def of(
        cls,
        path: str | Path,
        model: WanModel,
        photos: Sequence[tuple[torch.Tensor, torch.Tensor]],
        grid: Grid,
        prompt: str,
        ref: RefConfig,
        seed: int,
    ) -> 'BankFile':
        r"""The file of what is known before weights are read.

        Args:
            model: with weights or without.
            photos: rgb and mask of each, see `Product.fitted`.
            grid: of a photo's tokens, (1, h, w).
            prompt: the target's.
            seed: of the noise that `ref.ref_noised` mixes in.
        """
        masks = tuple(token_mask(alpha, grid) for _, alpha in photos)
        pixels = tuple(rgb for rgb, _ in photos)
        noise = seed if ref.ref_noised else None
        facts = {'prompt': bank_key(prompt),
                 'photos': bank_key(*pixels, *masks, grid),
                 'settings': bank_key(ref.sigmas, noise)}
        return cls(Path(path), model.num_layers, model.num_heads,
                   model.dim // model.num_heads, grid, masks, facts)

    def made_by(self, files: str | None) -> 'BankFile':
        r"""The same, of a checkpoint's files, see `fingerprint`."""
        return self if files is None else replace(
            self, facts={**self.facts, 'checkpoint': files})

    def loaded(self, networks: Iterable[torch.nn.Module]) -> 'BankFile':
        r"""The same, of networks whose weights are there.

        A sample of every weight tells what checkpoint it is, and what has
        become of it since.
        """
        weights = (whole(p).flatten()[:64] for network in networks
                   for p in network.parameters())
        return replace(
            self, facts={**self.facts, 'weights': bank_key(*weights)})

    def check(self) -> None:
        r"""Check that the file can be used or, where none is, be written.

        Raises:
            CheckpointError: see `load`.
            ValueError: it cannot be written.
        """
        if self.load('meta') is None:
            check_writable(self.path)

    def load(
        self, device: torch.device | str
    ) -> tuple[Reference, ...] | None:
        r"""The references in the file, on a device; None if there is none.

        Raises:
            CheckpointError: the file is unreadable or damaged, or was made
                from another photo, prompt, model or settings.
        """
        try:
            with _opened(self.path) as (metadata, file):
                self._compare(metadata)
                self._check_names(file.keys())
                return tuple(
                    self._reference(n, file, device)
                    for n in range(len(self.masks)))
        except FileNotFoundError:
            return None
        except SafetensorError as error:
            raise CheckpointError(
                f'{self.path} is not a readable bank: {reason(error)}.'
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError,
                RecursionError) as error:
            raise CheckpointError(
                f'The bank {self.path} cannot be used: {reason(error)}; name '
                f'a new file.') from error

    def save(self, references: Sequence[Reference]) -> None:
        r"""Keep captured references, whole or not at all."""
        tensors = {
            name: tensor.contiguous().cpu()
            for n, reference in enumerate(references)
            for part, kept in zip(
                'kv', (reference.keys, reference.values), strict=True)
            for name, tensor in (
                (f'{n}.{i}.{part}', t) for i, t in enumerate(kept))}
        metadata = {
            'version': VERSION, 'photos': str(len(references)),
            'facts': json.dumps(dict(self.facts))}
        with atomic_write(self.path) as temporary:
            save_file(tensors, temporary, metadata=metadata)

    def _compare(self, metadata: Mapping[str, str]) -> None:
        r"""Check what the file says it was made from."""
        if metadata.get('version') != VERSION:
            raise ValueError(
                'it is none, or one that another version of this program '
                'wrote')
        held = metadata['photos']
        if held != str(len(self.masks)):
            raise ValueError(
                f'it holds {held[:20]} photos, {len(self.masks)} are given')
        kept = json.loads(metadata['facts'][:FACTS_CHARS])
        # Only a model that came from files knows them; the weights decide.
        unknown = {'checkpoint'} - set(kept)
        other = [
            PHRASES[name] for name, fact in self.facts.items()
            if name not in unknown and kept.get(name) != fact]
        if other:
            raise ValueError(f'it was made from {" and ".join(other)}')

    def _check_names(self, names: Iterable[str]) -> None:
        wanted = {
            f'{n}.{i}.{part}' for n in range(len(self.masks))
            for i in range(self.depth) for part in 'kv'}
        wrong = sorted(wanted.symmetric_difference(names))
        if wrong:
            raise ValueError(
                f'{len(wrong)} tensors, {wrong[0][:40]} among them, are '
                f'missing or do not belong to {len(self.masks)} photos and '
                f'{self.depth} blocks')

    def _reference(self, n, file, device) -> Reference:
        keys, values = (
            tuple(self._tensor(f'{n}.{i}.{part}', file).to(device, copy=True)
                  for i in range(self.depth)) for part in 'kv')
        if len({t.dtype for t in keys + values}) > 1:
            raise ValueError('its tensors are of several dtypes')
        return Reference(keys, values, self.grid, self.masks[n])

    def _tensor(self, name, file) -> torch.Tensor:
        value = file.get_tensor(name)
        shape = (1, math.prod(self.grid), self.heads, self.head_dim)
        if value.dtype not in DTYPES:
            raise ValueError(f'{name} is {value.dtype}, not floating point')
        if value.shape != shape:
            raise ValueError(
                f'{name} has shape {list(value.shape)}, not {list(shape)}')
        if not is_finite(value):
            raise ValueError(f'{name} holds NaN or infinity')
        # No token of a photo has a key of zeros, whatever the photo.
        if not value.flatten(2).any(-1).all():
            raise ValueError(f'{name} is zero at some token')
        return value


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Mapping[str, str], safe_open]]:
    r"""A bank's (metadata, file)."""
    open_plain(path).close()
    with safe_open(path, 'pt') as file:
        yield file.metadata() or {}, file
