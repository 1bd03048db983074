r"""Saving: all files of a result appear together, and nothing is lost.

A result is a record and the files that it lists with their digests. It is
written in a folder of its own, `.wan-HOST-PID-TOKEN`, which holds the new
files and links to the old ones. Renaming that folder to `.wan-KEY.saving` is
the one step that decides: from there on the new files are put in place, and
where a run is killed meanwhile, the next one ends what it began. Where a file
cannot be put in place, the old ones are put back.
"""
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..utils.temporary import clear, is_alive, temporary_name
from .origin import changed, strangers

log = logging.getLogger(__name__)

NEW, OLD, UNDONE, NAMES = 'new', 'old', 'undone', 'names.json'


def pending(record: Path) -> Path:
    r"""The folder of a switch that has been decided, and not yet ended."""
    return record.with_name(f'.wan-{_key(record)}.saving')


def check_replaceable(record: Path, outputs: Sequence[Path]) -> None:
    r"""Check that what is there is as this program left it.

    Raises:
        ValueError: it is of another origin, or has changed since.
    """
    if os.path.lexists(pending(record)):
        return  # it was checked when that was begun
    kept = [str(path) for path in strangers(record, outputs)] + [
        str(record.with_name(name)) for name in changed(record)
        if os.path.lexists(record.with_name(name))]
    if kept:
        raise ValueError(
            f'Cannot write {kept[0]}: it is there, and not as an earlier run '
            f'left it; the setting overwrite replaces it.')


@contextmanager
def switching(record: Path, outputs: Sequence[Path] = ()) -> Iterator[Path]:
    r"""A folder whose files come in place together when the block succeeds.

    Args:
        record: of the set.
        outputs: all other files it may have; those that it does not have are
            removed.

    Raises:
        OSError: a file cannot be put in place; the old ones stay.
    """
    record.parent.mkdir(parents=True, exist_ok=True)
    recover(record)
    _recover_others(record.parent)
    clear(record.parent)
    stage = record.with_name(temporary_name())
    try:
        (stage / NEW).mkdir(parents=True)
        yield stage / NEW
        _decide(stage, record, outputs)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    _end(pending(record))


def recover(record: Path) -> None:
    r"""End a switch that was begun by a run that is no more.

    Raises:
        OSError: it can be neither ended nor undone.
    """
    if pending(record).is_dir():
        log.warning('Ending the saving of %s, which was cut short.', record)
        _end(pending(record))


def _recover_others(folder: Path) -> None:
    r"""The same for what nobody may ever write again, such as default names.
    """
    for path in folder.glob('.wan-*.saving'):
        try:
            names = json.loads((path / NAMES).read_text())
            if is_alive(names['owner']):
                continue
            with claim(path.with_name(names['names'][-1])) as mine:
                if mine:
                    _end(path)
        except (OSError, ValueError, LookupError) as error:
            log.warning('%s cannot be ended: %s', path, error)


def _decide(stage: Path, record: Path, outputs: Sequence[Path]) -> None:
    r"""Keep the old files, and make the stage the pending switch."""
    (stage / OLD).mkdir()
    names = {path.name for path in (record, *outputs)}
    new = {path.name for path in (stage / NEW).iterdir()}
    old = {name for name in names | new
           if os.path.lexists(record.with_name(name))}
    for name in old:
        _keep(record.with_name(name), stage / OLD / name)
    # The record last: where it is, the rest is.
    order = sorted(names | new, key=lambda name: (name == record.name, name))
    (stage / NAMES).write_text(json.dumps({
        'owner': stage.name, 'names': order, 'new': sorted(new),
        'old': sorted(old)}))
    for path in (*(stage / NEW).iterdir(), stage / NAMES, stage):
        _sync(path)
    os.rename(stage, pending(record))


def _end(folder: Path) -> None:
    r"""Put the new files in place, or the old ones back."""
    names = json.loads((folder / NAMES).read_text())
    if not (folder / UNDONE).is_dir():
        try:
            for name in names['names']:
                target = folder.with_name(name)
                if name not in names['new']:
                    target.unlink(missing_ok=True)
                elif os.path.lexists(folder / NEW / name):
                    os.replace(folder / NEW / name, target)
        except BaseException:
            os.rename(folder / NEW, folder / UNDONE)
            _undo(folder, names)
            _remove(folder)
            raise
    else:
        _undo(folder, names)
    _sync(folder.parent)
    _remove(folder)


def _undo(folder: Path, names: Mapping[str, list[str]]) -> None:
    for name in names['names']:
        target, kept = folder.with_name(name), folder / OLD / name
        if name not in names['old']:
            if not os.path.lexists(folder / UNDONE / name):
                target.unlink(missing_ok=True)
        elif os.path.lexists(kept) and not _one(kept, target):
            os.replace(kept, target)


def _remove(folder: Path) -> None:
    r"""Remove a pending switch, first as such, then all that is in it."""
    ended = folder.with_name(temporary_name())
    os.rename(folder, ended)
    shutil.rmtree(ended, ignore_errors=True)


def _one(kept: Path, target: Path) -> bool:
    try:
        return os.path.samestat(kept.lstat(), target.lstat())
    except OSError:
        return False


def _keep(old: Path, kept: Path) -> None:
    try:
        os.link(old, kept, follow_symlinks=False)
    except OSError:  # no links in this file system, or not to this file
        shutil.copy2(old, kept, follow_symlinks=False)


def _sync(path: Path) -> None:
    r"""Have a file or a folder on the disk before what comes next."""
    with suppress(OSError):  # folders cannot be opened everywhere
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


# Several runs at once, and what those that were killed left


@contextmanager
def claim(record: Path) -> Iterator[bool]:
    r"""Whether this run alone may write a result, until the block ends."""
    record.parent.mkdir(parents=True, exist_ok=True)
    lock = record.with_name(f'.wan-{_key(record)}.lock')
    owner, taken = temporary_name(), True
    if not is_alive(os.readlink(lock) if lock.is_symlink() else ''):
        lock.unlink(missing_ok=True)
    try:
        os.symlink(owner, lock)
    except FileExistsError:
        taken = False
    except OSError:
        lock = None  # no links in this file system
    try:
        yield taken
    finally:
        if taken and lock:
            lock.unlink(missing_ok=True)


def _key(record: Path) -> str:
    return hashlib.sha256(os.fsencode(record.name)).hexdigest()[:16]
