r"""A catalogue: the products of a table, each to be put into one template."""
import csv
import difflib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..jobs.settings_file import located, sweep_keys
from ..jobs.task import Task
from ..utils.flags import kinds, path_names
from ..utils.plain_files import open_plain
from ..utils.record import legible

MAX_BYTES, MAX_ROWS, MAX_COLUMNS = 2**22, 10_000, 200
SEPARATORS = ',;\t'
# Columns in a seller's words, and the settings they mean.
COLUMNS = {'image': 'target_image', 'mask': 'target_mask'}
# Of which the target prompt is made where there is none.
WORDS = ('name', 'attributes')


@dataclass(frozen=True)
class Product:
    r"""A row of the table.

    Args:
        table: the file.
        line: where the row begins in it, counted from 1.
        settings: that its cells give, by name.
        words: 'name' and 'attributes', '' where there is none.
        problem: what is wrong with the row; '' if nothing.
    """
    table: Path
    line: int
    settings: Mapping[str, object]
    words: Mapping[str, str]
    problem: str = ''

    def __str__(self) -> str:
        return f'{self.table}, line {self.line}'

    @property
    def phrase(self) -> str:
        r"""How a prompt names the product: 'gold bracelet'."""
        return ' '.join(filter(None, (
            self.words.get('attributes'), self.words.get('name'))))

    @property
    def label(self) -> str:
        r"""A name for its folder: its words, or its photo's."""
        photos = self.settings.get('target_image') or ('',)
        photo = photos if isinstance(photos, str) else photos[0]
        text = self.phrase or Path(photo).stem or f'line {self.line}'
        return '-'.join(re.findall(r'\w+', legible(text).lower())) \
            or f'line-{self.line}'

    def read(
        self, row: Task, flags: Mapping[str, object]
    ) -> dict[str, object]:
        r"""Its settings with those of all; `flags` override its own.

        Raises:
            ValueError: something is wrong with the row, or its words do not
                make a target prompt.
        """
        if self.problem:
            raise ValueError(f'{self}: {self.problem}.')
        given = {**self.settings, **flags}
        if given.get('target_prompt'):
            return given
        known = {**row.defaults(given, {}), **given}
        try:
            return {**given, 'target_prompt': target_prompt(
                str(known.get('source_prompt') or ''),
                str(known.get('source_blend') or ''), self.words)}
        except ValueError as error:
            raise ValueError(f'{self}: {error}') from error


def target_prompt(
    source_prompt: str, source_blend: str, words: Mapping[str, str]
) -> str:
    r"""The source prompt with a new product in it.

    Wherever `source_blend`, the words for the old one, stands, 'attributes
    name' is put, and 'a' before it becomes 'an' before a vowel's letter, and
    the other way round.

    Raises:
        ValueError: a part is missing, or the words are not in the prompt.
    """
    name, attributes = (words.get(key, '') for key in WORDS)
    if not name:
        raise ValueError(
            'attributes need a name.' if attributes else
            'target_prompt is missing, or a name to make it of.')
    if not source_blend.strip():
        raise ValueError(
            'source_blend is missing: the words of source_prompt that name '
            'the old product, which the name replaces; or give '
            'target_prompt.')
    new = f'{attributes} {name}'.strip()
    old = r'\s+'.join(map(re.escape, source_blend.split()))
    pattern = re.compile(rf'(?:\b(an?)(\s+))?(?<!\w){old}(?!\w)', re.I)

    def put(found):
        article, gap = found.groups()
        if article is None:
            return new
        right = 'an' if new[0].lower() in 'aeiou' else 'a'
        return (right.capitalize() if article[0] == 'A' else right) + gap + new

    text, count = pattern.subn(put, source_prompt)
    if not count:
        raise ValueError(
            f'source_blend {source_blend!r} is not in source_prompt '
            f'{source_prompt!r}.')
    return text


def read_products(path: str | Path, row: Task) -> list[Product]:
    r"""The products of a CSV file, as spreadsheets write it.

    It is UTF-8, with or without a mark at its beginning; commas, semicolons
    or tabs separate the cells. Empty rows and nameless empty columns are
    passed over. Every cell is plain text, formulas too. Files are looked for
    beside the table.

    Args:
        row: the task whose experiment keys may be columns.

    Raises:
        ValueError: no such table, or an unknown column; the nearest known one
            is named.
    """
    path = Path(path)
    text = _text(path)
    try:
        lines = _rows(text)
    except csv.Error as error:
        raise ValueError(f'Cannot read {path}: {error}.') from error
    if not lines:
        raise ValueError(f'{path} is empty: a line with the names of the '
                         f'columns is needed, and one for each product.')
    (_, head), *lines = lines
    names = _columns(path, head, row)
    files = {name: kinds(cls)[name]
             for cls in row.kinds for name in path_names(cls)}
    if not lines:
        raise ValueError(f'{path} has no products, only names of columns.')
    if len(lines) > MAX_ROWS:
        raise ValueError(
            f'{path} has {len(lines)} products, at most {MAX_ROWS} are '
            f'allowed.')
    return [_product(path, line, names, cells, files)
            for line, cells in lines]


def _text(path: Path) -> str:
    try:
        with open_plain(path, MAX_BYTES) as file:
            data = file.read()
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{path} is not text in UTF-8: a spreadsheet saves it so as "CSV '
            f'UTF-8".') from error
    except FileNotFoundError as error:
        raise ValueError(str(error)) from error
    if '\0' in text:
        raise ValueError(f'{path} is no table: it holds a byte that is 0.')
    return text


def _rows(text: str) -> list[tuple[int, list[str]]]:
    r"""(line, cells) of the rows that say something."""
    first, _, rest = text.partition('\n')
    told = re.fullmatch(r'sep=(.)\r?', first)  # as Excel has it
    if told:
        text = rest
    # The first of those that make most columns of the head.
    separator = told[1] if told else max(SEPARATORS, key=lambda s: len(
        next(_reader(text.lstrip('\r\n'), s), ())))
    reader = _reader(text, separator, strict=True)
    start = 2 if told else 1
    rows, line = [], start
    for cells in reader:
        cells = [cell.strip() for cell in cells]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            rows.append((line, cells))
        line = start + reader.line_num
    return rows


def _reader(text: str, separator: str, strict: bool = False):
    return csv.reader(
        io.StringIO(text, newline=''), delimiter=separator, strict=strict,
        skipinitialspace=True)


def _columns(path: Path, head: Sequence[str], row: Task) -> list[str]:
    r"""The settings, or words, that the columns give."""
    keys = {**sweep_keys(row), **COLUMNS, **{word: word for word in WORDS}}
    if len(head) > MAX_COLUMNS:
        raise ValueError(
            f'{path} has {len(head)} columns, at most {MAX_COLUMNS} are '
            f'allowed.')
    names = []
    for title in head:
        key = '_'.join(title.lower().split())
        if key and key not in keys:
            near = difflib.get_close_matches(key, keys, 1, 0)[0]
            raise ValueError(
                f'{path}: unknown column {title!r}; did you mean {near!r}?')
        name = keys.get(key, '')
        if name and name in names:
            raise ValueError(f'{path} gives {name} in two columns.')
        names.append(name)
    return names


def _product(path, line, names, cells, files) -> Product:
    settings, words, problem = {}, {}, ''
    for i, cell in enumerate(cells):
        name = names[i] if i < len(names) else ''
        if not cell:
            continue
        if not name:
            problem = (
                f'{cell[:60]!r} is in column {i + 1}, which has no name; a '
                'cell with commas, semicolons or line breaks needs '
                'quotes')
        elif name in WORDS:
            words[name] = ' '.join(cell.split())
        elif name in files:
            settings[name] = located(
                path.parent, name, files[name], cell, apart=True)
        else:
            settings[name] = ' '.join(cell.split())
    return Product(path, line, settings, words, problem)
