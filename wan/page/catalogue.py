r"""What a catalogue is on the disk.

    CATALOGUE/catalogue.json   the template's settings, the rows, what became
                               of each: one file, replaced as a whole
    CATALOGUE/template/        as generate.py --prepare makes it
    CATALOGUE/tables/001/      a table of products and their photos, as
                               run_experiments.py --products reads it
    CATALOGUE/out/NAME/        a result, as run_experiments.py writes it
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ..experiments.experiment import Experiment
from ..experiments.products import Product
from ..jobs.settings import JobSettings
from ..jobs.template_file import OWN
from ..runtime import Runtime
from ..tasks import EDIT_TASK as TASK
from ..tasks import TASKS
from ..utils.flags import names
from ..utils.plain_files import read_json
from ..utils.record import atomic_write, to_json
from .state import finished
from .tables import Tables
from .uploads import lies_in

FILE = 'catalogue.json'
# What says what the product to be found looks like, though it is a product's.
HINTS = ('target_prompt', 'target_blend')
KEPT = 4096  # rows whose files are known without another look


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


class Catalogue:
    r"""The files of a catalogue; who changes it holds a lock.

    Args:
        folder: of all of them.

    Raises:
        ValueError: its file cannot be read.
    """

    def __init__(self, folder: Path):
        self.folder, self.template = folder, folder / 'template'
        self.tables = Tables(folder / 'tables', TASKS[TASK])
        self.content = Content.read(folder / FILE)
        self._prompts: dict[tuple[str, str], str] = {}

    def set(self, **values: object) -> None:
        r"""Change what stands in the file, on the disk first."""
        content = replace(self.content, **values)
        content.write(self.folder / FILE)
        if {'settings', 'template'} & {*values}:
            self._prompts = {}
        self.content = content

    def entry(self, name: str) -> Entry:
        r"""A row.

        Raises:
            ValueError: there is none of that name.
        """
        for row in self.content.rows:
            if row.name == name:
                return row
        raise ValueError(f'There is no row {name!r} in this catalogue.')

    def update(self, name: str, **values: str) -> None:
        r"""Change a row.

        Raises:
            ValueError: there is none of that name.
        """
        old = self.entry(name)
        self.set(rows=tuple(replace(row, **values) if row is old else row
                            for row in self.content.rows))

    def remove(self, name: str) -> None:
        r"""Take a row away; what was made of it stays.

        Raises:
            ValueError: there is none of that name.
        """
        gone = self.entry(name)
        self.set(rows=tuple(
            row for row in self.content.rows if row is not gone))

    def add(self, table: str, products: Sequence[Product]) -> list[str]:
        r"""Rows for the products of a table; gives their names."""
        new = tuple(
            Entry(f'{table}-{product.line}-{product.label}'[:80], table,
                  product.line) for product in products)
        self.set(rows=self.content.rows + new)
        return [row.name for row in new]

    def begin(self, settings: Mapping[str, object], seed: int) -> None:
        r"""Another template: all rows wait anew.

        Args:
            settings: as of `templates`.
            seed: of all products.
        """
        self.set(settings={**settings, 'base_seed': seed},
                 template='waiting', error='', paused=False,
                 rows=tuple(replace(row, status='waiting', error='')
                            for row in self.content.rows))

    def product(self, entry: Entry) -> Product:
        return self.tables.product(entry.table, entry.line)

    def photo(self, entry: Entry) -> Path | None:
        r"""The first photo of a row; nothing that lies elsewhere."""
        photos = self.product(entry).settings.get('target_image') or ('',)
        photo = photos if isinstance(photos, str) else photos[0]
        return Path(photo) if lies_in(photo, [self.folder]) else None

    def prompt(self, entry: Entry) -> str:
        r"""The target prompt of a row, '' where none can be made."""
        key = entry.name, entry.prompt
        if key not in self._prompts:
            try:
                self._prompts[key] = str(
                    self.settings(entry).get('target_prompt') or '')
            except ValueError:
                self._prompts[key] = ''
        return self._prompts[key]

    def settings(self, entry: Entry) -> dict[str, object]:
        r"""Of a row's edit.

        Raises:
            ValueError: something is wrong with it, or no target prompt.
        """
        over = dict(self.content.settings or {})
        if self.content.template == 'done':  # it tells all but the machine's
            over = {name: over[name] for name in names(Runtime, JobSettings)
                    if name in over}
            over['template'] = str(self.template)
        over = {name: value for name, value in over.items()
                if name not in HINTS}
        if entry.prompt:
            over['target_prompt'] = entry.prompt
        return {'base_seed': 0, **self.product(entry).read(TASKS[TASK], over)}

    def experiment(self, entry: Entry) -> Experiment:
        r"""What a row's result is to this program."""
        return Experiment(self.folder / 'out' / entry.name, TASK)

    def files(self, entry: Entry) -> Mapping[str, Path]:
        r"""What was made of a row."""
        record = self.experiment(entry).record
        try:
            return _files(record, record.stat().st_mtime_ns)
        except OSError:
            return {}


@lru_cache(KEPT)
def _files(record: Path, changed: int) -> Mapping[str, Path]:
    return finished(record).files


def templates(settings: Mapping[str, object]) -> dict[str, object]:
    r"""Those of an edit's settings that are its template's, as JSON has them:
    none of one product or run, but for what helps to find the old one."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in settings.items()
        if value not in (None, '', (), [])
        and (name not in OWN or name in HINTS)}
