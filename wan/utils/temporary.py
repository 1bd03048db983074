r"""Names of unfinished files, by which a later run knows whose they were."""
import os
import platform
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

import psutil

PATTERN = re.compile(r'\.wan-(?P<host>\w*)-(?P<pid>\d+)-[0-9a-f]{16}')


def temporary_name(suffix: str = '') -> str:
    r"""A new name for a file, or a folder, of this process."""
    return f'.wan-{_host()}-{os.getpid()}-{secrets.token_hex(8)}{suffix}'


def is_alive(name: str) -> bool:
    r"""Whether the process that made up a name may still run.

    Of another machine's nothing is known: it may.
    """
    found = PATTERN.match(name)
    return found is not None and (
        found['host'] != _host() or psutil.pid_exists(int(found['pid'])))


def clear(folder: Path) -> None:
    r"""Remove what runs that were killed left in a folder unfinished."""
    with suppress(OSError):
        for path in folder.glob('.wan-*'):
            # A lock is a link to the name of its owner.
            name = os.readlink(path) if path.is_symlink() else path.name
            if not PATTERN.match(name) or is_alive(name):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _host() -> str:
    return re.sub(r'\W', '', platform.node())[:32]
