r"""What a run leaves behind: its name, its record, files whole or absent.

Every result goes through `atomic_write`, so an interrupted or failed run
leaves neither half a result nor a record of one.
"""
import json
import math
import os
import platform
import re
import shutil
import stat
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import psutil
import torch

from .temporary import clear, temporary_name

SLUG_LENGTH = 40
MAX_NAME_BYTES = 255
# Linux allows 4096; some are kept for the names of unfinished files.
MAX_PATH_BYTES = 3500


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    r"""A temporary file that becomes `path` when the block succeeds.

    It lies in the folder of `path`, which is made if missing, with the same
    suffix. On any exception, KeyboardInterrupt included, it is removed and an
    existing `path` stays as it was.

    Raises:
        OSError: the folder cannot be made or the file cannot be moved.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    clear(path.parent)
    temporary = path.with_name(temporary_name(path.suffix))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(
    path: str | Path,
    suffixes: Sequence[str] = (),
    needed_bytes: int = 0,
) -> None:
    r"""Check that a result can be written to `path`, without creating anything.

    Args:
        path: the file to be.
        suffixes: endings allowed, such as `VIDEO_SUFFIXES`; empty for any.
        needed_bytes: space the results will take.

    Raises:
        ValueError: another ending, a folder or an impossible name is there, the
            folder cannot be made or written to, or the disk is too full.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f'Cannot write {path}: its name must end in one of '
                         f'{", ".join(suffixes)}.')
    if os.path.isdir(path):
        raise ValueError(f'Cannot write {path}: a folder of that name exists.')
    for part in path.parts:
        if len(os.fsencode(part)) > MAX_NAME_BYTES:
            raise ValueError(f'Cannot write {path}: the name has '
                             f'{len(os.fsencode(part))} bytes, at most '
                             f'{MAX_NAME_BYTES} are allowed.')
    if len(os.fsencode(path.absolute())) > MAX_PATH_BYTES:
        raise ValueError(f'Cannot write {path}: the path has '
                         f'{len(os.fsencode(path.absolute()))} bytes, at most '
                         f'{MAX_PATH_BYTES} are allowed.')
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise ValueError(f'Cannot write {path}: {folder} is not a folder that '
                         'may be written to.')
    if os.path.isfile(path) and _is_fixed(path):
        raise ValueError(f'Cannot write {path}: the file there may not be '
                         'replaced.')
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise ValueError(f'Cannot write {path}: about {needed_bytes / 1e6:.0f} '
                         f'MB are needed, {free / 1e6:.0f} MB are free.')


def _is_fixed(path: Path) -> bool:
    r"""Whether a file is immutable, or another's in a sticky folder."""
    if not hasattr(os, 'geteuid'):
        return False
    user, file, folder = os.geteuid(), path.lstat(), path.parent.stat()
    if folder.st_mode & stat.S_ISVTX and user not in (
            0, file.st_uid, folder.st_uid):
        return True
    writable = user == 0 or user == file.st_uid and \
        file.st_mode & stat.S_IWUSR
    return bool(writable) and not os.access(path, os.W_OK)


def slug(text: str) -> str:
    r"""`text` as part of a file name: words of any script joined by '-'."""
    letters = (c.lower() if unicodedata.category(c)[0] in 'LNM' else ' '
               for c in unicodedata.normalize('NFKC', text))
    words = '-'.join(''.join(letters).split())
    if len(words) > SLUG_LENGTH:
        whole = words[:SLUG_LENGTH + 1].rpartition('-')[0]
        words = whole or words[:SLUG_LENGTH]
    return words or 'untitled'


def default_save_path(
    task: str,
    size: tuple[int, int],
    seed: int,
    prompt: str,
    suffix: str,
    folder: str | Path = '.',
) -> Path:
    r"""A free path `task_WxH_seed_prompt-slug_date_time.suffix` in `folder`.

    The name is legal on every system. `size` is (width, height) in pixels.
    """
    width, height = size
    task = re.sub(r'[^\w.-]+', '-', task)
    stem = (f'{task}_{width}x{height}_{seed}_{slug(prompt)}_'
            f'{time.strftime("%Y%m%d_%H%M%S")}')
    path, again = Path(folder, stem + suffix), 1
    while path.exists() or path.with_suffix('.json').exists():
        again += 1
        path = Path(folder, f'{stem}_{again}{suffix}')
    return path


def legible(text: str) -> str:
    r"""`text` as UTF-8 has it: bytes of a name that are none, as `\xfc`."""
    return re.sub('[\ud800-\udfff]',
                  lambda found: f'\\x{ord(found[0]) & 0xff:02x}', text)


class RunRecord:
    r"""Arguments, versions, seconds per stage and peak memory of one run.

    `stages` takes the seconds of each stage, `results` whatever else the run
    finds out, such as metrics. Nothing is written before `write`, so a run
    that fails leaves no record.

    Args:
        arguments: every option of the run; values are kept as JSON has them,
            other objects as their `str`.
        seed: the seed used, not the one asked for.
    """

    def __init__(self, arguments: Mapping[str, object], seed: int):
        self.arguments = dict(arguments)
        self.seed = seed
        self.stages: dict[str, float] = {}
        self.results: dict[str, object] = {}
        self.started = time.strftime('%Y-%m-%dT%H:%M:%S%z')
        if _cuda_used():
            torch.cuda.reset_peak_memory_stats()

    def as_dict(self) -> dict[str, object]:
        r"""Everything known so far, in values that JSON has."""
        return _plain({
            'seed': self.seed,
            'started': self.started,
            'arguments': self.arguments,
            'versions': versions(),
            'seconds': {k: round(v, 3) for k, v in self.stages.items()},
            'peak_memory_bytes': peak_memory(),
            'results': self.results,
        })

    def as_metadata(self) -> dict[str, str]:
        r"""The record as one `comment`, to be embedded in an mp4 or png."""
        return {'comment': to_json(self.as_dict())}


def versions() -> dict[str, str | None]:
    r"""Versions and devices that the numbers of a run depend on."""
    out = {'python': platform.python_version(), 'torch': torch.__version__}
    for package in ('wan', 'diffusers', 'transformers'):
        try:
            out[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # used from its source folder
            out[package] = None
    out['cuda'] = torch.version.cuda
    out['gpu'] = torch.cuda.get_device_name() if _cuda_used() else None
    out['cpu'] = _cpu_name()
    return out


def peak_memory() -> dict[str, int]:
    r"""Most bytes held at once: by the process, and by torch on the GPU."""
    if sys.platform == 'win32':
        host = psutil.Process().memory_info().peak_wset
    else:
        import resource  # not there on Windows
        host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        host *= 1 if sys.platform == 'darwin' else 1024
    gpu = torch.cuda.max_memory_allocated() if _cuda_used() else 0
    return {'host': host, 'gpu': gpu}


def _cuda_used() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()


def _cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    text = info.read_text() if info.is_file() else ''
    found = re.search(r'^model name\s*:\s*(.+)$', text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def to_json(value: object, indent: int | None = None) -> str:
    r"""JSON as it is read best; only bytes of names that are no UTF-8, which
    Python keeps as lone surrogates, are escaped: they read back as they were.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text.encode('utf-8', 'backslashreplace').decode()


def _plain(value: object) -> object:
    r"""`value` in JSON's own types; inf and nan, which it lacks, as text."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
