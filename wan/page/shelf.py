r"""A catalogue on the disk: many products in one prepared template.

    CATALOGUE/catalogue.json   the template's settings, the rows, what became
                               of each: one file, replaced as a whole
    CATALOGUE/template/        as generate.py --prepare makes it
    CATALOGUE/tables/001/      a table of products and their photos, as
                               run_experiments.py --products reads it
    CATALOGUE/out/NAME/        a result, as run_experiments.py writes it
"""
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..experiments.checking import prepare as prepare_experiment
from ..experiments.experiment import KEY, Experiment
from ..experiments.products import Product
from ..jobs.settings import JobSettings
from ..jobs.task import Job
from ..jobs.template_file import FILE, OWN
from ..runtime import Runtime
from ..tasks import TASKS
from ..utils.flags import names
from .catalogue import Content, Entry, Row
from .state import State, finished
from .station import Station
from .tables import Tables
from .uploads import lies_in

__all__ = ['Row', 'Shelf', 'Shelves']

log = logging.getLogger(__name__)

TASK = 'pvtt'
CATALOGUE = 'catalogue'
# What says what the product to be found looks like, though it is a product's.
HINTS = ('target_prompt', 'target_blend')
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
        self.folder = station.folder(visitor) / CATALOGUE
        self._file = self.folder / 'catalogue.json'
        self._tables = Tables(self.folder / 'tables', TASKS[TASK])
        self._lock = threading.RLock()
        self._current: Current | None = None
        self._content = Content.read(self._file)
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
        given = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in settings.items()
            if value not in (None, '', (), [])
            and (name not in OWN or name in HINTS)}
        with self._lock:
            self._template_job(given)
            seed = int(settings.get('base_seed') or 0)
            self._set(
                settings={**given, 'base_seed': max(0, seed)},
                template='waiting', error='', paused=False,
                rows=tuple(replace(row, status='waiting', error='')
                           for row in self._content.rows))
            self._stop()
            self._go_on()

    @property
    def template(self) -> State | None:
        r"""How far the template is; None before `prepare`. Its files are
        'result' (template.yaml), 'preview' and 'mask'."""
        with self._lock:
            content = self._content
            if content.settings is None:
                return None
            if self._current and not self._current.name:
                return self._state(self._current)
            if content.template == 'failed':
                return State('failed', error=content.error)
        return finished(self.folder / 'template' / FILE.replace(
            '.yaml', '.json'))

    def _template_job(self, settings: Mapping[str, object]) -> Job:
        return self.station.job(
            TASK, {name: value for name, value in settings.items()
                   if name != 'base_seed'}, self.visitor, 'prepare',
            self.folder / 'template', FILE)

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
        return self._add(self._tables.of_photos, photos, prompt)

    def add_table(self, table: Path, photos: Sequence[Path] = ()) -> list[str]:
        r"""The rows of a CSV file as of run_experiments.py --products.

        Args:
            photos: that it names, by their file names.

        Raises:
            ValueError: no such table, an unknown column, or too many rows.
        """
        return self._add(self._tables.add, table, photos)

    def _add(self, make, *what) -> list[str]:
        with self._lock:
            try:
                table, products = make(
                    *what, room=self._tables.room(len(self._content.rows)))
            except ValueError as error:
                raise ValueError(self.station.shown(
                    str(error), self.visitor)) from error
            new = tuple(
                Entry(f'{table}-{product.line}-{product.label}'[:80], table,
                      product.line) for product in products)
            self._set(rows=self._content.rows + new)
            self._go_on()
        return [row.name for row in new]

    def rows(self) -> list[Row]:
        r"""In the order in which they were added."""
        with self._lock:
            content, current = self._content, self._current
        return [self._row(entry, current) for entry in content.rows]

    def _state(self, current: Current) -> State:
        return self.station.state(current.tickets[0], self.visitor)

    def _row(self, entry: Entry, current: Current | None) -> Row:
        product = self._tables.product(entry.table, entry.line)
        photos = product.settings.get('target_image') or (None,)
        prompt, error, state = self._prompt(entry, product), entry.error, None
        status, files = entry.status, {}
        if status == 'waiting' and current and current.name == entry.name:
            state = self._state(current)
            status = 'running' if state.status == 'running' else 'waiting'
        if status == 'waiting' and not prompt and not product.problem:
            error = NO_PROMPT
        if status == 'done':
            files = finished(self._experiment(entry).record).files
        photo = photos if isinstance(photos, str) else photos[0]
        if photo is None or not lies_in(photo, [self.folder]):
            photo = None  # nothing else of this machine is shown
        return Row(entry.name, photo and Path(photo), prompt, status, files,
                   error, state)

    def _prompt(self, entry: Entry, product: Product) -> str:
        try:
            return str(self._settings(entry, product).get('target_prompt'))
        except ValueError:
            return ''

    def _settings(self, entry: Entry, product: Product) -> dict[str, object]:
        r"""Of a row's edit.

        Raises:
            ValueError: something is wrong with it, or no target prompt.
        """
        content = self._content
        over = dict(content.settings or {})
        if content.template == 'done':  # which tells all but the machine's
            over = {name: over[name] for name in names(Runtime, JobSettings)
                    if name in over}
            over['template'] = str(self.folder / 'template')
        over = {name: value for name, value in over.items()
                if name not in HINTS}
        if entry.prompt:
            over['target_prompt'] = entry.prompt
        return product.read(TASKS[TASK], over)

    def change(self, name: str, prompt: str) -> None:
        r"""Another target prompt; the row waits anew.

        Raises:
            ValueError: there is no such row.
        """
        self._update(name, prompt=' '.join(prompt.split()), status='waiting',
                     error='')

    def retry(self, name: str) -> None:
        r"""Run a row again that failed.

        Raises:
            ValueError: there is no such row.
        """
        if self._entry(name).status == 'failed':
            self._update(name, status='waiting', error='')

    def remove(self, name: str) -> None:
        r"""Take a row away; one that runs is cancelled, a result that is
        finished stays on the disk.

        Raises:
            ValueError: there is no such row.
        """
        with self._lock:
            gone = self._entry(name)
            self._set(rows=tuple(
                row for row in self._content.rows if row is not gone))
            if self._current and self._current.name == name:
                self._stop()
            self._go_on()

    @property
    def paused(self) -> bool:
        r"""Whether no further row begins."""
        return self._content.paused

    def pause(self) -> None:
        r"""Begin no further row; the one that runs goes on."""
        with self._lock:
            self._set(paused=True)

    def resume(self) -> None:
        r"""Go on."""
        with self._lock:
            self._set(paused=False)
            self._go_on()

    def _entry(self, name: str) -> Entry:
        for row in self._content.rows:
            if row.name == name:
                return row
        raise ValueError(f'There is no row {name!r} in this catalogue.')

    def _update(self, name: str, **values: str) -> None:
        with self._lock:
            old = self._entry(name)
            self._set(rows=tuple(
                replace(row, **values) if row is old else row
                for row in self._content.rows))
            if self._current and self._current.name == name and \
                    'prompt' in values:
                self._stop()
            self._go_on()

    def _set(self, **values: object) -> None:
        content = replace(self._content, **values)
        content.write(self._file)
        self._content = content

    # Its jobs, one in the queue at a time

    def _go_on(self) -> None:
        r"""Put what is next into the queue, unless something is there."""
        with self._lock:
            content = self._content
            if self._current or content.settings is None or \
                    content.template == 'failed' or content.paused:
                return
            if content.template == 'waiting':
                self._put('', partial(self._template_job, content.settings),
                          self.folder / 'template')
                return
            for entry in content.rows:
                product = self._tables.product(entry.table, entry.line)
                if entry.status == 'waiting' and (
                        product.problem or self._prompt(entry, product)):
                    self._put(entry.name, partial(self._made, entry, product),
                              self._experiment(entry).folder)
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

    def _stop(self) -> None:
        r"""Cancel what is in the queue."""
        current, self._current = self._current, None
        if current:
            self.station.cancel(current.tickets[0], self.visitor)

    def _experiment(self, entry: Entry) -> Experiment:
        return Experiment(self.folder / 'out' / entry.name, TASK)

    def _made(self, entry: Entry, product: Product) -> Job | Path:
        r"""The job of a row, or the record of its result."""
        experiment = self._experiment(entry)
        given = {'base_seed': 0, **self._settings(entry, product)}
        experiment.given = self.station.given(TASK, given, self.visitor)
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
                    self._update(name, status=state.status, error=state.error)
                else:
                    self._set(template=state.status, error=state.error)
            elif not self.station.works.closed:
                self._set(paused=True)
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
