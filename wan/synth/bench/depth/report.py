r"""The table and the sheets of the world in depth."""
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from wan.product.photo import Product
from wan.utils.record import atomic_write

from ...depth.captions import full_depth_caption
from ..report import SEED, middle, save_sheet
from ..rows import Row
from ..stats import Interval, paired
from ..store import SHOWN_FRAMES, SHOWN_PAIRS, Results, Setup, read_strip
from .rows import MAIN

# Column: (heading, digits, which way is better).
MEASURES = {
    'product_error': ('product error', 3, '↓'),
    'phase_free': ('phase-free', 3, '↓'), 'structure': ('structure', 3, '↑'),
    'light_error': ('light', 3, '↓'),
    'occlusion_error': ('occlusion', 3, '↓'),
    'background_psnr': ('background', 1, '↑'), 'motion': ('motion', 2, '→ 1'),
    'checkerboard': ('checkerboard', 2, '→ 0'),
    'judge_shape': ('shape', 2, '↑'), 'judge_pattern': ('pattern', 2, '↑'),
    'judge_colour': ('main colour', 2, '↑'),
    'judge_colours': ('all colours', 2, '↑')}
COMPARED = ('product_error', 'phase_free', 'structure', 'light_error',
            'occlusion_error', 'background_psnr')
# Of these also in percent of the mean of what is compared with.
PERCENT = ('product_error', 'phase_free')
# What each row is compared with, where it is not told.
AGAINST = ('paste', 'turning')
HEAD = """\
# Products that turn in depth

{pairs} pairs of the {seeds} seeds, {frames} frames of {size}x{size}. \
Brackets are 95 % bootstrap intervals over the pairs, paired where two rows \
are compared; ↑ more is better, ↓ less is. Occlusion is of the pairs in \
which something stands in front, "turn right" of those whose true answer \
shows its turn. "Wrong photo adds" is the product error with another \
product's photo less that with the right one."""
Values = Mapping[int, Mapping[str, float]]


def write_depth_table(
    path: Path,
    rows: Sequence[Row],
    results: Mapping[str, Results],
    setup: Setup,
    pairs: int,
    against: Sequence[str] = AGAINST,
) -> None:
    r"""Means and differences, a part for each way photos are taken.

    Args:
        against: rows, by name, that the others are compared with; a name
            without the way photos are taken is of the same way.
    """
    parts = [HEAD.format(pairs=pairs, seeds=setup.seeds, frames=setup.frames,
                         size=setup.size)]
    for kind in kinds_of(rows):
        own = [row for row in rows if row.taken in ('', kind)]
        if kind:
            parts.append(f'## Photo: {kind}')
        parts.append(_levels(own, results))
        for name in against:
            base = base_of(name, kind, rows)
            if base is not None:
                parts.append(_differences(base, own, results))
    with atomic_write(path) as temporary:
        temporary.write_text('\n\n'.join(filter(None, parts)) + '\n', 'utf-8')


def base_of(name: str, kind: str, rows: Iterable[Row]) -> Row | None:
    r"""The row of a name, or of a name and a way of taking photos."""
    known = {row.name: row for row in rows}
    return known.get(f'{name}.{kind}', known.get(name))


def kinds_of(rows: Sequence[Row]) -> list[str]:
    r"""The ways photos are taken; one of no name if none is shown."""
    return list(dict.fromkeys(
        row.taken for row in rows if row.taken)) or ['']


def _levels(rows: Sequence[Row], results: Mapping[str, Results]) -> str:
    values = {row.name: of_photo(results[row.name], row.photos[0])
              for row in rows}
    there = [name for name in MEASURES if any(
        name in line for own in values.values() for line in own.values())]
    lines = [['row', 'method', *map(_title, there), 'turn right ↑',
              'wrong photo adds ↑']]
    for row in rows:
        cells = [f'`{row.name}`', row.title]
        for name in there:
            found = _listed(values[row.name].values(), name)
            cells.append(f'{sum(found) / len(found):.{MEASURES[name][1]}f}'
                         if found else '')
        right = _listed(values[row.name].values(), 'turn_right')
        cells.append(f'{sum(right):.0f} of {len(right)}')
        wrong = of_photo(results[row.name], 'wrong')
        cells.append(_span(less(
            wrong, values[row.name], 'product_error'), 3))
        lines.append(cells)
    return _markdown(lines)


def _differences(
    base: Row, rows: Sequence[Row], results: Mapping[str, Results]
) -> str:
    r"""Of the other rows from one, pair by pair."""
    before = of_photo(results[base.name], base.photos[0])
    there = [name for name in COMPARED if any(
        name in line for line in before.values())]
    lines = [[f'minus `{base.name}`', *map(_title, there)]]
    for row in rows:
        if row.kind in ('copy', 'truth', 'ceiling') or row.name == base.name:
            continue
        own = of_photo(results[row.name], row.photos[0])
        lines.append([f'`{row.name}`', *(
            _span(less(own, before, name), MEASURES[name][1]) + (
                _percent(own, before, name) if name in PERCENT else '')
            for name in there)])
    return _markdown(lines) if len(lines) > 1 else ''


def of_photo(results: Results, photo: str) -> Values:
    r"""The measures of one of the photos, by pair."""
    return {pair: values for (pair, which), values in sorted(results.items())
            if which == photo}


def _listed(lines: Iterable[Mapping[str, float]], name: str) -> list[float]:
    return [line[name] for line in lines if name in line]


def less(a: Values, b: Values, name: str) -> Interval | None:
    r"""a - b, over the pairs that have both; None without any."""
    both = [pair for pair in a if name in a[pair] and name in b.get(pair, {})]
    if not both:
        return None
    return paired(*([values[pair][name] for pair in both]
                    for values in (a, b)), SEED)


def _percent(a: Values, b: Values, name: str) -> str:
    r"""How much the mean of a is above b's."""
    one, two = (sum(_listed(values.values(), name)) for values in (a, b))
    return f', {100 * (one / two - 1):+.0f} %' if two else ''


def _title(name: str) -> str:
    title, _, better = MEASURES[name]
    return f'{title} {better}'


def _span(interval: Interval | None, digits: int) -> str:
    if interval is None:
        return ''
    mean, low, high = (f'{number:+.{digits}f}' for number in interval)
    return f'{mean} [{low}, {high}]'


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    lines.insert(1, '|' + '---|' * len(rows[0]))
    return '\n'.join(lines)


def write_depth_sheets(
    out: Path,
    rows: Sequence[Row],
    results: Mapping[str, Results],
    setup: Setup,
    pairs: int,
) -> None:
    r"""pair-N.jpg for the first pairs, all.jpg with one frame of each.

    Of the photos only those taken in the first way are shown, and of the rows
    those of the main table where there are any.
    """
    kind, names = kinds_of(rows)[0], {row.name for row in MAIN}
    own = [row for row in rows if row.taken in ('', kind)]
    shown = [row for row in own
             if row.name.removesuffix(f'.{kind}') in names] or own
    for old in out.glob('pair-*.jpg'):
        old.unlink()
    sheets = []
    for number in range(min(pairs, SHOWN_PAIRS)):
        clips = _clips(number, shown, results, setup, kind)
        save_sheet([(f'{name}{more}', clip) for (name, more), clip in
                    clips.items()], SHOWN_FRAMES, out / f'pair-{number}.jpg')
        sheets.append({name: clip for (name, _), clip in clips.items()})
    # Of each pair one frame, side by side as if they were a clip.
    save_sheet([
        (name, torch.cat([middle(clips[name]) for clips in sheets], 1))
        for name in sheets[0]], len(sheets), out / 'all.jpg')


def _clips(
    number: int, rows: Sequence[Row], results: Mapping[str, Results],
    setup: Setup, kind: str,
) -> dict[tuple[str, str], torch.Tensor]:
    r"""By name and remark: template, photos, truth and the rows' edits."""
    pair = setup.pair(number)
    answer, size = pair.answer(), (setup.size, setup.size)
    clips = {('template', f': {full_depth_caption(pair.clip)}'):
             answer.source}
    if kind:
        clips[f'photo, {kind}', ''] = torch.cat([
            Product(photo).fitted(size)[0]
            for photo in pair.photos(kind, 'right')], 1)
    clips['truth', f': {full_depth_caption(pair.truth)}'] = answer.truth
    for row in rows:
        photo = row.photos[0]
        error = results[row.name][number, photo]['product_error']
        if row.kind not in ('copy', 'truth'):
            clips[row.title, f', product error {error:.3f}'] = read_strip(
                setup.strip_file(row, number, photo))
    return clips
