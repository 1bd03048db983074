r"""How rows in depth differ from a paste, pair by pair; it needs matplotlib."""
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..plots import COLOURS, draw
from ..rows import Row
from ..store import Results
from .report import base_of, kinds_of, less, of_photo

MEASURES = {'product_error': 'product error', 'structure': 'structure',
            'light_error': 'light'}


def write_depth_plot(
    path: Path, rows: Sequence[Row], results: Mapping[str, Results],
    against: str,
) -> None:
    r"""Draw each row's difference with its interval, a line of plots for each
    way photos are taken.

    Args:
        against: name of the row that the others are compared with; without
            it, or with nothing to compare, no plot is left.
    """
    kinds = [kind for kind in kinds_of(rows)
             if base_of(against, kind, rows) is not None]
    shown = [row for row in rows if row.kind in ('paste', 'edit')]
    if not kinds or len(shown) < 2:
        path.unlink(missing_ok=True)
        return

    def drawing(figure, _) -> None:
        axes = figure.subplots(
            len(kinds), len(MEASURES), squeeze=False, sharex='col')
        for line, kind in zip(axes, kinds, strict=True):
            own = [row for row in shown if row.taken in ('', kind)
                   and row.name != base_of(against, kind, rows).name]
            for plot, name in zip(line, MEASURES, strict=True):
                _differences(plot, name, base_of(against, kind, rows), own,
                             results)
            line[0].set_yticks(range(len(own)), [
                row.name.removesuffix(f'.{kind}') for row in own])
            line[0].set_title(f'photo: {kind}' if kind else '')
        for plot, title in zip(axes[-1], MEASURES.values(), strict=True):
            plot.set_xlabel(f'{title}, minus {against}')

    draw(path, (10, 1 + 2.2 * len(kinds)), drawing, shown)


def _differences(plot, name, base, rows, results) -> None:
    before = of_photo(results[base.name], base.photos[0])
    for place, row in enumerate(rows):
        found = less(
            of_photo(results[row.name], row.photos[0]), before, name)
        if found is not None:
            plot.plot([found.low, found.high], [place] * 2, lw=2,
                      color=COLOURS[row.family])
            plot.plot(found.mean, place, 'o', color=COLOURS[row.family])
    plot.axvline(0, color='#333333', lw=1)
    plot.set_ylim(len(rows) - .5, -.5)
    plot.set_yticks([])
