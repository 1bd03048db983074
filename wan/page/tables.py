r"""The tables of a catalogue, each in a folder with the photos it names."""
import csv
import os
import shutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from ..experiments.products import MAX_ROWS, Product, read_products
from ..jobs.task import Task
from ..utils.temporary import clear, temporary_name

# Of which the products are kept in memory, one for each visitor who looks.
KEPT = 64


class Tables:
    r"""Folders 001, 002 ... that are added whole and never changed.

    Args:
        folder: of all.
        row: the task whose experiment keys may be columns.
    """

    def __init__(self, folder: Path, row: Task):
        self.folder, self.row = folder, row
        self._read = lru_cache(KEPT)(self._products)

    def add(
        self, table: Path, photos: Sequence[Path], rows: int
    ) -> tuple[str, list[Product]]:
        r"""Take over a table with photos that it names; gives the name of its
        folder, and its products.

        Args:
            photos: by whose names it calls them.
            rows: that the catalogue has by now.

        Raises:
            ValueError: no such table, an unknown column, or too many rows.
        """

        def fill(folder: Path) -> None:
            for file in (table, *photos):
                _link(file, folder / file.name)

        return self._added(table.name, fill, rows)

    def of_photos(
        self, photos: Sequence[Path], prompt: str, rows: int
    ) -> tuple[str, list[Product]]:
        r"""The same of a table that is made of photos, one a row.

        Args:
            prompt: of all of them, '' for none.
        """
        if not photos:
            raise ValueError('A photo is needed.')

        def fill(folder: Path) -> None:
            with open(folder / 'photos.csv', 'x', newline='',
                      encoding='utf-8') as file:
                rows = csv.writer(file)
                rows.writerow(('image', 'target_prompt'))
                for number, photo in enumerate(photos, 1):
                    name = photo.name
                    if (folder / name).exists():
                        name = f'{number}_{name}'
                    _link(photo, folder / name)
                    rows.writerow((name, ' '.join(prompt.split())))

        return self._added('photos.csv', fill, rows)

    def _added(
        self, name: str, fill: Callable[[Path], None], rows: int
    ) -> tuple[str, list[Product]]:
        stage = self.folder / temporary_name()
        stage.mkdir(parents=True)
        clear(self.folder)
        try:
            fill(stage)
            products = read_products(stage / name, self.row)
            if rows + len(products) > MAX_ROWS:
                raise ValueError(
                    f'{name} has {len(products)} products; with {rows} there '
                    f'are more than {MAX_ROWS}.')
            taken = [int(path.name) for path in self.folder.iterdir()
                     if path.name.isdecimal()]
            number = f'{max(taken, default=0) + 1:03d}'
            os.rename(stage, self.folder / number)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        return number, list(self._read(number).values())

    def product(self, table: str, line: int) -> Product:
        r"""The product in a line of a table."""
        return self._read(table)[line]

    def _products(self, table: str) -> dict[int, Product]:
        path, = (self.folder / table).glob('*.[cC][sS][vV]')
        return {product.line: product
                for product in read_products(path, self.row)}


def _link(file: Path, target: Path) -> None:
    r"""Have a file under another name, too."""
    try:
        os.link(file, target)
    except OSError:  # no links in this file system
        shutil.copyfile(file, target)
