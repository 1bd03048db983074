r"""Whose files they are: a record lists what a run wrote, with digests.

What no record of ours lists, or what has changed since, is the user's own.
"""
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..utils.record import to_json

MAX_RECORD_BYTES = 2**26


def digest(path: str | Path) -> str:
    r"""The sha256 of a file."""
    found = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def write_record(path: Path, content: Mapping[str, object]) -> None:
    r"""Write a record that lists all files beside it, by name and sha256."""
    files = {file.name: digest(file) for file in sorted(path.parent.iterdir())}
    content = {**content, 'files': files}
    content['digest'] = _own_digest(content)
    path.write_text(to_json(content, indent=2) + '\n', encoding='utf-8')


def read_record(path: Path) -> dict:
    r"""What `write_record` wrote; empty if it is anything else."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_RECORD_BYTES:
            return {}
        record = json.loads(path.read_text(encoding='utf-8'))
        told = record.pop('digest')
        return record if told == _own_digest(record) else {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError,
            RecursionError):
        return {}


def changed(record: Path) -> list[str]:
    r"""Files that a record lists and that are not, or no more, what it says.
    """
    return [name for name, told in read_record(record).get('files', {}).items()
            if not _is(record.with_name(name), told)]


def strangers(record: Path, outputs: Sequence[Path]) -> list[Path]:
    r"""What is where a result is to be, and is of no earlier run.

    Args:
        record: of the result.
        outputs: its other files.
    """
    files = read_record(record).get('files', {})
    found = [path for path in outputs if path.name not in files]
    # A record of other files is not to be lost either.
    if not files or any(os.path.lexists(record.with_name(name)) for name in
                        set(files).difference(p.name for p in outputs)):
        found.append(record)
    return [path for path in found if os.path.lexists(path)]


def _own_digest(content: Mapping[str, object]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _is(path: Path, told: str | None) -> bool:
    try:
        return told is not None and path.is_file() and digest(path) == told
    except OSError:
        return False
