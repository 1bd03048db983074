r"""What all tabs of a page share: whose request it is, and whose job."""
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import gradio as gr

from . import again
from .shelf import Shelves
from .station import Station

log = logging.getLogger(__name__)

COOKIE = 'wan_visitor'
# As gradio serves files; `guard` says which.
FILE = 'gradio_api/file='


@dataclass(frozen=True)
class Run:
    r"""What a job was asked for, and in which tab."""
    tab: str
    task: str
    settings: Mapping[str, object]
    also: str | None


class Desk:
    r"""The engine as the tabs use it.

    Args:
        station: with the queue of jobs.
        log_file: where faults are told in full.
        local: whether all visitors sit at this machine.
    """

    def __init__(self, station: Station, log_file: Path, local: bool):
        self.station, self.log_file, self.local = station, log_file, local
        self.shelves = Shelves(station)
        self._runs: dict[tuple[str, str], Run] = {}
        self._lock = threading.Lock()

    def visitor(self, request: gr.Request) -> str:
        r"""Whose request it is, by a cookie that the guard has set.

        Raises:
            gr.Error: it has none.
        """
        visitor = (request.cookies or {}).get(COOKIE, '')
        try:
            self.station.folder(visitor)
        except ValueError:
            raise gr.Error(
                'This page needs a cookie to know your files; allow it, and '
                'load the page again.', print_exception=False) from None
        return visitor

    def folder(self, request: gr.Request) -> Path:
        r"""Of all that is the visitor's."""
        return self.station.folder(self.visitor(request))

    def accept(self, request: gr.Request):
        r"""What takes uploads of a visitor over, see `Station.accept`."""
        visitor = self.visitor(request)
        return lambda file, kind: self.station.accept(file, kind, visitor)

    def submit(self, run: Run, request: gr.Request) -> str:
        r"""Put a job in the queue; its ticket.

        Raises:
            ValueError: the first thing wrong, in one sentence.
        """
        visitor = self.visitor(request)
        ticket = self.station.submit(
            run.task, run.settings, visitor, run.also)
        known = set(self.station.tickets(visitor))
        with self._lock:
            for key in [key for key in self._runs
                        if key[0] == visitor and key[1] not in known]:
                del self._runs[key]
            self._runs[visitor, ticket] = run
        return ticket

    def run(self, ticket: str, request: gr.Request) -> Run | None:
        r"""What a visitor's job was asked for."""
        return self._runs.get((self.visitor(request), ticket))

    def latest(self, tab: str, request: gr.Request) -> str:
        r"""The last job of a tab, '' without one."""
        found = [
            ticket for ticket in self.station.tickets(self.visitor(request))
            if (run := self.run(ticket, request)) and run.tab == tab]
        return found[-1] if found else ''

    def command(
        self, run: Run, request: gr.Request, seed: int | None = None
    ) -> str:
        r"""A run as a command line; elsewhere than on this machine the files
        stand by their names alone.

        Args:
            seed: that was drawn; None if none was.
        """
        also = f' --{run.also}' if run.also else ''
        drawn = {} if seed is None else {'base_seed': seed}
        line = again.command(run.task, {**run.settings, **drawn}) + also
        if not self.local:
            for name in _files(run.settings):
                line = line.replace(name, Path(name).name)
        return line

    @contextmanager
    def faults(self) -> Iterator[None]:
        r"""Tell of what must not happen in one sentence; the log has it all.

        Raises:
            gr.Error: in place of any exception but that of a bad input.
        """
        try:
            yield
        except (gr.Error, ValueError):
            raise
        except Exception as error:
            log.exception('A request of the page failed.')
            raise gr.Error(escape(
                f'Something went wrong here ({type(error).__name__}); '
                f'{self.log_file} tells more.'),
                print_exception=False) from error


def _files(settings: Mapping[str, object]) -> list[str]:
    texts = [text for value in settings.values() for text in (
        value if isinstance(value, (list, tuple)) else (value,))]
    return [str(text) for text in texts
            if isinstance(text, (str, Path)) and Path(text).is_absolute()]


def url(path: Path) -> str:
    r"""Where a page gets a file of the visitor."""
    return FILE + quote(str(path.resolve()))
