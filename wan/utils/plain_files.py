r"""Opening files of which nothing is known: they may be closed, a pipe that
nobody writes to, or a device without end."""
import json
import os
import stat
from pathlib import Path
from typing import BinaryIO

# No description of a network or of its shards comes near it.
JSON_BYTES = 2**22
REASON_CHARS = 300

OTHERS = {
    stat.S_IFDIR: 'a folder', stat.S_IFIFO: 'a pipe', stat.S_IFCHR: 'a device',
    stat.S_IFBLK: 'a device', stat.S_IFSOCK: 'a socket'}


def open_plain(path: str | Path, limit: int | None = None) -> BinaryIO:
    r"""A regular file, opened for reading; nothing else is waited for.

    Args:
        limit: the most bytes it may have.

    Raises:
        FileNotFoundError: nothing of that name is there.
        ValueError: it may not be read, is no regular file, is larger than
            `limit`, or is a link to nothing.
    """
    path = Path(path)
    # Without O_NONBLOCK the opening of a pipe waits for its other end.
    flags = os.O_RDONLY | sum(
        getattr(os, name, 0) for name in (
            'O_NONBLOCK', 'O_CLOEXEC', 'O_BINARY'))
    try:
        file = os.fdopen(os.open(path, flags), 'rb')
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(path):
            raise ValueError(
                f'{path} is a link to {os.readlink(path)}, which is not '
                f'there.') from error
        raise FileNotFoundError(f'{path} is not there.') from error
    except IsADirectoryError as error:
        raise ValueError(f'{path} is a folder, not a file.') from error
    except OSError as error:
        raise ValueError(f'Cannot read {path}: {reason(error)}.') from error
    except ValueError as error:
        raise ValueError(f'{str(path)!a} is no path: {error}.') from error
    found = os.fstat(file.fileno())
    told = OTHERS.get(stat.S_IFMT(found.st_mode))
    if told is not None:
        told = f'{path} is {told}, not a file.'
    elif limit is not None and found.st_size > limit:
        told = f'{path} has {found.st_size} bytes, at most {limit} are allowed.'
    if told is not None:
        file.close()
        raise ValueError(told)
    return file


def read_json(path: str | Path) -> dict:
    r"""The JSON object in a file of at most `JSON_BYTES`.

    Raises:
        FileNotFoundError: nothing of that name is there.
        ValueError: see `open_plain`; or the file holds something else.
    """
    with open_plain(path, JSON_BYTES) as file:
        text = file.read(JSON_BYTES)
    try:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError(f'it is of type {type(value).__name__}')
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'{path} is not a JSON object: {reason(error)}.') from error
    return value


def reason(error: BaseException) -> str:
    r"""An exception's cause in a few words, without a full stop."""
    text = getattr(error, 'strerror', None) or str(error)
    lines = text.strip().splitlines() or [type(error).__name__]
    return lines[0].strip()[:REASON_CHARS].rstrip('.:')
