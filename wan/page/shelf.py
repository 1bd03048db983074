r"""A catalogue on the disk: many products in one prepared template."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .station import State, Station


class Row(NamedTuple):
    r"""A product of a catalogue.

    Args:
        name: by which it is named here, and its folder.
        photo: its first one, None where the table names none.
        prompt: the target prompt, '' where there is none yet.
        status: 'waiting', 'running', 'done' or 'failed'.
        files: as of `State`.
        error: why it failed, in one sentence.
        state: of its job while it waits for the device or runs, else None.
    """
    name: str
    photo: Path | None
    prompt: str
    status: str
    files: Mapping[str, Path]
    error: str
    state: State | None


class Shelf:
    r"""The catalogue of a visitor.

    All that it is stands on the disk, so it outlives page and server; what
    was finished is not made again.

    Args:
        station: that its jobs run on.
        visitor: whose it is.
    """

    def __init__(self, station: Station, visitor: str):
        raise NotImplementedError

    def prepare(self, settings: Mapping[str, object]) -> None:
        r"""Make the template that all products share, in place of the one
        before; all rows wait anew.

        Args:
            settings: of an edit, by name; those that belong to one product
                (photo, target prompt) only help to find the old one.

        Raises:
            ValueError: the first thing wrong, in one sentence.
        """
        raise NotImplementedError

    @property
    def template(self) -> State | None:
        r"""How far the template is; None before `prepare`. Its files are
        'result' (template.yaml), 'preview' and 'mask'."""
        raise NotImplementedError

    def add_photos(
        self, photos: Sequence[Path], prompt: str = ''
    ) -> list[str]:
        r"""A row for each photo, from `Station.accept`; gives their names.

        Args:
            prompt: target prompt of all; each can be changed later. A row
                without one waits for it.
        """
        raise NotImplementedError

    def add_table(self, table: Path, photos: Sequence[Path] = ()) -> list[str]:
        r"""The rows of a CSV file as of run_experiments.py --products.

        Args:
            photos: that it names, by their file names.

        Raises:
            ValueError: no such table, or an unknown column.
        """
        raise NotImplementedError

    def rows(self) -> list[Row]:
        r"""In the order in which they were added."""
        raise NotImplementedError

    def change(self, name: str, prompt: str) -> None:
        r"""Another target prompt; the row waits anew."""
        raise NotImplementedError

    def retry(self, name: str) -> None:
        r"""Run a row again that failed."""
        raise NotImplementedError

    def remove(self, name: str) -> None:
        r"""Take a row away; one that runs is cancelled, a result that is
        finished stays on the disk."""
        raise NotImplementedError

    @property
    def paused(self) -> bool:
        raise NotImplementedError

    def pause(self) -> None:
        r"""Begin no further row; the one that runs goes on."""
        raise NotImplementedError

    def resume(self) -> None:
        r"""Go on."""
        raise NotImplementedError


class Shelves:
    r"""The catalogues of all visitors; at the start of a server they go on
    where they were.

    Args:
        station: that their jobs run on.
    """

    def __init__(self, station: Station):
        raise NotImplementedError

    def of(self, visitor: str) -> Shelf:
        r"""A visitor's, which may be empty."""
        raise NotImplementedError
