r"""Tensors that cost time and depend on known things alone, kept by these."""
import logging
from collections.abc import Callable, Container, Mapping
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .plain_files import open_plain, reason
from .record import atomic_write
from .tensors import DTYPES, is_finite

log = logging.getLogger(__name__)


def key_of(*parts: object) -> str:
    r"""A hash of tensors, by their values, and of plain values."""
    digest = sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            digest.update(repr((tuple(part.shape), part.dtype)).encode())
            # By its first dimension: a long clip lies on the disk.
            for piece in part:
                digest.update(
                    piece.detach().cpu().contiguous().float().numpy())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


class Kept:
    r"""In memory, as long as this object lives.

    Args:
        names: of the values that are kept; others are not.
    """

    def __init__(self, names: Container[str] = ()):
        self.names = names
        self._held: dict[tuple[str, str], torch.Tensor] = {}

    def get(self, name: str, *parts: object) -> torch.Tensor | None:
        r"""What was put under a name for the same parts; else None."""
        if name not in self.names:
            return None
        return self._held.get((name, key_of(*parts)))

    def put(self, name: str, value: torch.Tensor, *parts: object) -> None:
        r"""Keep a tensor, which depends on `parts` and on nothing else."""
        if name in self.names:
            self._held[name, key_of(*parts)] = value


NOTHING_KEPT = Kept()


class KeptIn(Kept):
    r"""In a folder, one file for each name; a value of other parts than are
    asked for is made anew and replaced.

    Args:
        folder: of the files.
        facts: for each name what its value depends on beside its parts, such
            as a hash of the weights.
        names: of further values, which are kept in memory.
        tell: told in a sentence of what cannot be written.
    """

    def __init__(
        self, folder: Path, facts: Mapping[str, str],
        names: Container[str] = (),
        tell: Callable[[str], None] = log.warning,
    ):
        super().__init__(names)
        self.folder, self.facts, self.tell = folder, facts, tell

    def get(self, name: str, *parts: object) -> torch.Tensor | None:
        if name not in self.facts:
            return super().get(name, *parts)
        path = self._path(name)
        try:
            open_plain(path).close()
            with safe_open(path, 'pt') as file:
                told = file.metadata() or {}
                if told.get('key') != key_of(self.facts[name], *parts):
                    return None
                value = file.get_tensor('value')
        except (OSError, ValueError, SafetensorError):
            return None  # made anew, and replaced by what is readable
        good = value.dtype in DTYPES and is_finite(value) \
            and told.get('value') == key_of(value)
        return value if good else None

    def put(self, name: str, value: torch.Tensor, *parts: object) -> None:
        if name not in self.facts:
            return super().put(name, value, *parts)
        path, value = self._path(name), value.detach().cpu().contiguous()
        try:
            with atomic_write(path) as temporary:
                # By its own writer only its owner could read it.
                temporary.write_bytes(save({'value': value}, metadata={
                    'key': key_of(self.facts[name], *parts),
                    'value': key_of(value)}))
        except OSError as error:
            self.tell(f'{path} cannot be written, so that what it is to keep '
                      f'is made anew each time: {reason(error)}.')

    def _path(self, name: str) -> Path:
        return self.folder / f'{name}.safetensors'
