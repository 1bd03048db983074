r"""The catalogue of a visitor at work: many products in one template."""
import logging
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..experiments.checking import prepare as prepare_experiment
from ..experiments.experiment import KEY
from ..jobs.task import Job
from ..jobs.template_file import FILE
from ..utils.flags import parse
from .catalogue import TASK, Catalogue, Entry, templates
from .state import Row, State, finished
from .station import Station

__all__ = ['Row', 'Shelf', 'Shelves']

log = logging.getLogger(__name__)

CATALOGUE = 'catalogue'
NO_PROMPT = 'target_prompt is missing, or a name to make it of.'


class Current(NamedTuple):
    r"""What stands in the queue, or runs.

    Args:
        name: of the row, '' of the template.
        tickets: none before it is in the queue, then one.
    """
    name: str
    tickets: list[str]


class Shelf:
    r"""The catalogue of a visitor.

    All that it is stands on the disk, so it outlives page and server; what
    was finished is not made again.

    Args:
        station: that its jobs run on, one at a time.
        visitor: whose it is.

    Raises:
        ValueError: its file cannot be read.
    """

    def __init__(self, station: Station, visitor: str):
        self.station, self.visitor = station, visitor
        self._all = Catalogue(station.folder(visitor) / CATALOGUE)
        self._lock = threading.RLock()
        self._current: Current | None = None
        self._go_on()

    # The template

    def prepare(self, settings: Mapping[str, object]) -> None:
        r"""Make the template that all products share, in place of the one
        before; all rows wait anew.

        Args:
            settings: of an edit, by name; those that belong to one product
                (photo, target prompt) only help to find the old one.

        Raises:
            ValueError: the first thing wrong, in one sentence.
        """
        given = templates(settings)
        seed = parse('base_seed', int, settings.get('base_seed') or 0)
        with self._lock:
            self._template_job(given)
            self._all.begin(given, max(0, seed))
            self._stop()
            self._go_on()

    @property
    def template(self) -> State | None:
        r"""How far the template is; None before `prepare`. Its files are
        'result' (template.yaml), 'preview' and 'mask'."""
        with self._lock:
            content, current = self._all.content, self._current
            if content.settings is None:
                return None
            if current and not current.name:
                return self._state(current)
            if content.template == 'failed':
                return State('failed', error=content.error)
        return finished((self._all.template / FILE).with_suffix('.json'))

    def _template_job(self, settings: Mapping[str, object]) -> Job:
        return self.station.job(
            TASK, {name: value for name, value in settings.items()
                   if name != 'base_seed'}, self.visitor, 'prepare',
            self._all.template, FILE)

    # The rows

    def add_photos(
        self, photos: Sequence[Path], prompt: str = ''
    ) -> list[str]:
        r"""A row for each photo, from `Station.accept`; gives their names.

        Args:
            prompt: target prompt of all; each can be changed later. A row
                without one waits for it.

        Raises:
            ValueError: no photos, or too many rows.
        """
        return self._add(self._all.tables.of_photos, photos, prompt)

    def add_table(self, table: Path, photos: Sequence[Path] = ()) -> list[str]:
        r"""The rows of a CSV file as of run_experiments.py --products.

        Args:
            photos: that it names, by their file names.

        Raises:
            ValueError: no such table, an unknown column, or too many rows.
        """
        return self._add(self._all.tables.add, table, photos)

    def _add(self, make, *what) -> list[str]:
        with self._lock:
            try:
                added = make(*what, rows=len(self._all.content.rows))
            except ValueError as error:
                raise ValueError(self.station.shown(
                    str(error), self.visitor)) from error
            names = self._all.add(*added)
            self._go_on()
        return names

    def rows(self) -> list[Row]:
        r"""In the order in which they were added."""
        with self._lock:
            entries, current = self._all.content.rows, self._current
        return [self._row(entry, current) for entry in entries]

    def _row(self, entry: Entry, current: Current | None) -> Row:
        prompt, error, state = self._all.prompt(entry), entry.error, None
        status, files = entry.status, {}
        if status == 'waiting' and current and current.name == entry.name:
            state = self._state(current)
            status = 'running' if state.status == 'running' else 'waiting'
        if status == 'waiting' and not self._ready(entry):
            error = NO_PROMPT
        if status == 'done':
            files = self._all.files(entry)
        return Row(entry.name, self._all.photo(entry), prompt, status, files,
                   error, state)

    def _state(self, current: Current) -> State:
        return self.station.state(current.tickets[0], self.visitor)

    def _ready(self, entry: Entry) -> bool:
        r"""Whether a row can run, be it to fail for what its table says."""
        return bool(self._all.product(entry).problem
                    or self._all.prompt(entry))

    def change(self, name: str, prompt: str) -> None:
        r"""Another target prompt; the row waits anew.

        Raises:
            ValueError: there is no such row.
        """
        with self._lock:
            self._all.update(name, prompt=' '.join(prompt.split()),
                             status='waiting', error='')
            self._stop(name)
            self._go_on()

    def retry(self, name: str) -> None:
        r"""Run a row again that failed.

        Raises:
            ValueError: there is no such row.
        """
        with self._lock:
            if self._all.entry(name).status == 'failed':
                self._all.update(name, status='waiting', error='')
            self._go_on()

    def remove(self, name: str) -> None:
        r"""Take a row away; one that runs is cancelled, a result that is
        finished stays on the disk.

        Raises:
            ValueError: there is no such row.
        """
        with self._lock:
            self._all.remove(name)
            self._stop(name)
            self._go_on()

    @property
    def paused(self) -> bool:
        r"""Whether no further row begins."""
        return self._all.content.paused

    def pause(self) -> None:
        r"""Begin no further row; the one that runs goes on."""
        with self._lock:
            self._all.set(paused=True)

    def resume(self) -> None:
        r"""Go on."""
        with self._lock:
            self._all.set(paused=False)
            self._go_on()

    # Its jobs, one in the queue at a time

    def _go_on(self) -> None:
        r"""Put what is next into the queue, unless something is there."""
        with self._lock:
            content = self._all.content
            if self._current or content.settings is None or \
                    content.template == 'failed' or content.paused:
                return
            if content.template == 'waiting':
                self._put('', partial(self._template_job, content.settings),
                          self._all.template)
                return
            for entry in content.rows:
                if entry.status == 'waiting' and self._ready(entry):
                    self._put(entry.name, partial(self._made, entry),
                              self._all.experiment(entry).folder)
                    return

    def _put(self, name, make, folder) -> None:
        current = self._current = Current(name, [])
        try:
            # It cannot end before its ticket is known: the lock is held.
            current.tickets.append(self.station.works.put(
                make, TASK, self.visitor, folder,
                when_ended=partial(self._ended, current)))
        except ValueError as error:  # the page is closed, or too many wait
            self._current = None
            log.warning('The catalogue waits: %s', error)

    def _stop(self, name: str | None = None) -> None:
        r"""Cancel what is in the queue, if it is of that name."""
        current = self._current
        if current and name in (None, current.name):
            self._current = None
            self.station.cancel(current.tickets[0], self.visitor)

    def _made(self, entry: Entry) -> Job | Path:
        r"""The job of a row, or the record of its result."""
        experiment = self._all.experiment(entry)
        experiment.given = self.station.given(
            TASK, self._all.settings(entry), self.visitor)
        job = prepare_experiment(experiment)
        done = experiment.recall(job.record.arguments[KEY])
        return experiment.record if done else job

    def _ended(self, current: Current, state: State) -> None:
        r"""Note what became of a job; in the thread that computed."""
        with self._lock:
            if self._current is not current:
                return  # it was stopped, and no more is to be known of it
            self._current, name = None, current.name
            if state.status != 'cancelled':
                if name:
                    self._all.update(
                        name, status=state.status, error=state.error)
                else:
                    self._all.set(template=state.status, error=state.error)
            elif not self.station.works.closed:
                self._all.set(paused=True)
            self._go_on()


class Shelves:
    r"""The catalogues of all visitors; at the start of a server they go on
    where they were.

    Args:
        station: that their jobs run on.
    """

    def __init__(self, station: Station):
        self._station, self._lock = station, threading.Lock()
        self._shelves: dict[str, Shelf] = {}
        for file in sorted(station.root.glob(f'*/{CATALOGUE}/*.json')):
            try:
                self.of(file.parts[-3])
            except ValueError as error:
                log.error('A catalogue is left as it is: %s', error)

    def of(self, visitor: str) -> Shelf:
        r"""A visitor's, which may be empty.

        Raises:
            ValueError: its file cannot be read.
        """
        with self._lock:
            if visitor not in self._shelves:
                self._shelves[visitor] = Shelf(self._station, visitor)
            return self._shelves[visitor]
