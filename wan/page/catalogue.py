r"""What a catalogue is on the disk, and what is shown of it."""
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..utils.plain_files import read_json
from ..utils.record import atomic_write, to_json
from .state import State


class Row(NamedTuple):
    r"""A product of a catalogue.

    Args:
        name: by which it is named here, and its folder.
        photo: its first one, None where the table names none that is here.
        prompt: the target prompt, '' where there is none yet.
        status: 'waiting', 'running', 'done' or 'failed'.
        files: as of `State`.
        error: why it failed, or what it waits for, in one sentence.
        state: of its job while it waits for the device or runs, else None.
    """
    name: str
    photo: Path | None
    prompt: str
    status: str
    files: Mapping[str, Path]
    error: str
    state: State | None


@dataclass(frozen=True)
class Entry:
    r"""A row as it stands on the disk.

    Args:
        name: of the row.
        table, line: where it stands, see `Tables`.
        prompt: that was written in place of the table's; '' if none.
        status: 'waiting', 'done' or 'failed'.
        error: why it failed.
    """
    name: str
    table: str
    line: int
    prompt: str = ''
    status: str = 'waiting'
    error: str = ''


@dataclass(frozen=True)
class Content:
    r"""What stands in catalogue.json.

    Args:
        settings: of the template; None before there is one.
        template: 'waiting', 'done' or 'failed'.
        error: why it failed.
        paused: whether no further row begins.
        rows: in the order in which they were added.
    """
    settings: Mapping[str, object] | None = None
    template: str = 'waiting'
    error: str = ''
    paused: bool = False
    rows: tuple[Entry, ...] = ()

    @classmethod
    def read(cls, path: Path) -> 'Content':
        r"""What `write` wrote; empty where nothing is.

        Raises:
            ValueError: it is anything else.
        """
        try:
            told = read_json(path)
            return cls(**{**told, 'rows': tuple(
                Entry(**row) for row in told['rows'])})
        except FileNotFoundError:
            return cls()
        except (TypeError, LookupError) as error:
            raise ValueError(f'{path} is no catalogue.') from error

    def write(self, path: Path) -> None:
        told = {**vars(self), 'rows': [vars(row) for row in self.rows]}
        with atomic_write(path) as temporary:
            temporary.write_text(to_json(told, indent=1), encoding='utf-8')
