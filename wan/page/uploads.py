r"""Files of strangers: looked into, then kept under a name that is safe."""
import hashlib
import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from ..experiments.products import MAX_BYTES as TABLE_BYTES
from ..jobs.origin import MAX_RECORD_BYTES
from ..utils.image import open_image
from ..utils.mask_file import shown_size
from ..utils.plain_files import open_plain
from ..utils.record import check_writable, legible
from ..utils.temporary import clear, temporary_name
from ..utils.video import probe

# What some system or shell reads as more than a part of a name.
SPECIAL = re.compile(r'[\\/:*?"<>|\x00-\x1f\x7f]')
STEM_BYTES, SUFFIX = 120, re.compile(r'\.[a-z0-9]{1,5}')


def _check_table(path: Path) -> None:
    open_plain(path, TABLE_BYTES).close()


def _check_record(path: Path) -> None:
    if path.suffix == '.json':
        open_plain(path, MAX_RECORD_BYTES).close()
    else:
        shown_size(path)


KINDS: dict[str, Callable[[Path], object]] = {
    'video': probe,
    'image': open_image,
    'mask': shown_size,
    'table': _check_table,
    'record': _check_record,
}


def accept(file: str | Path, kind: str, folder: str | Path) -> Path:
    r"""Take a file over, under its own name as far as that is safe.

    The same file is kept once, in a folder that its content names.

    Args:
        file: where the server has put it.
        kind: of `KINDS`; a mask is a video or an image, a record the .json
            beside a result or the result itself.
        folder: of all uploads of a visitor.

    Raises:
        ValueError: it is none of its kind, or larger than the command line
            allows, in one sentence.
    """
    folder, name = Path(folder), safe_name(str(file))
    clear(folder)
    stage = folder / temporary_name()
    try:
        with open_plain(file) as source:
            size = os.fstat(source.fileno()).st_size
            check_writable(stage, needed_bytes=size)
            stage.mkdir(parents=True)
            digest = _copied(source, stage / name)
        KINDS[kind](stage / name)
        place = folder / digest
        if not place.is_dir():
            os.replace(stage, place)
        elif not (place / name).exists():  # the same under another name
            os.replace(stage / name, place / name)
        return place / name
    except (ValueError, OSError) as error:
        told = str(error).replace(f'{stage / name}', name).replace(
            f'{file}', name)
        raise ValueError(told) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _copied(source, target: Path) -> str:
    r"""Copy what is open; gives the digest of what was copied."""
    found = hashlib.sha256()
    with open(target, 'xb') as file:
        while block := source.read(2**20):
            found.update(block)
            file.write(block)
    return found.hexdigest()[:32]


def safe_name(text: str) -> str:
    r"""The last part of a path as a file's name that nothing misreads: no
    folders, no control characters, no dot or dash in front."""
    last = re.split(r'[\\/]', text.rstrip('\\/'))[-1]
    plain = ''.join(
        '_' if unicodedata.category(letter)[0] == 'C' else letter
        for letter in unicodedata.normalize('NFC', legible(last)))
    stem, dot, suffix = SPECIAL.sub('_', plain).rpartition('.')
    suffix = f'{dot}{suffix}'.lower()
    if not SUFFIX.fullmatch(suffix):
        stem, suffix = stem + suffix, ''
    stem = stem.strip(' .').lstrip('-').encode()[:STEM_BYTES].decode(
        'utf-8', 'ignore').strip(' .')
    return (stem or 'file') + suffix


def lies_in(path: str | Path, folders: Iterable[str | Path]) -> bool:
    r"""Whether something is there, and is one of these files or in one of
    these folders, whatever links lead to it."""
    try:
        real = Path(os.path.realpath(path))
    except ValueError:  # it is no path
        return False
    return os.path.exists(real) and any(
        real.is_relative_to(os.path.realpath(one)) for one in folders)
