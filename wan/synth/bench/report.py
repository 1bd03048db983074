r"""What a benchmark leaves: every number, a table, contact sheets."""
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from wan.product.photo import Product
from wan.utils.compare import contact_sheet
from wan.utils.record import atomic_write

from ..captions import full_caption
from .pairs import Pair
from .rows import BEST, MAIN, Row
from .stats import Interval, paired, summary
from .store import SHOWN_FRAMES, SHOWN_PAIRS, Results, Setup, read_strip

# Of all bootstraps: the same resamples of the pairs for every row.
SEED = 0
# The control: product error with the wrong photo less that with the right
# one. What is above 0 has come from the photo.
CONTROL = 'right_minus_wrong'
# Column: (heading, digits, which way is better).
COLUMNS = {
    'product_error': ('product error', 3, '↓'),
    CONTROL: ('right minus wrong', 3, '↑'),
    'colour_error': ('colour error', 3, '↓'),
    'structure': ('structure', 3, '↑'),
    'gradient_error': ('gradient error', 3, '↓'),
    'checkerboard': ('checkerboard', 2, '→ 0'),
    'background_psnr': ('background PSNR', 1, '↑'),
    'background_ssim': ('background SSIM', 3, '↑'),
    'mask_iou': ('mask IoU', 3, '↑'),
    'iou': ('IoU of the mask found', 3, '↑'),
    'displacement_error': ('displacement error', 2, '↓'),
    'consistency': ('consistency', 3, ''),
    'motion': ('motion', 3, ''),
    'judge_shape': ('shape', 2, '↑'),
    'judge_pattern': ('pattern', 2, '↑'),
    'judge_colour': ('main colour', 2, '↑'),
    'judge_colours': ('all colours', 2, '↑'),
    'judge_surface': ('surface', 2, '↑'),
    'judge_surface_colour': ('surface colour', 2, '↑'),
    'evaluations': ('evaluations', 1, '↓'),
}
# Of these the difference to the row that another is compared with.
COMPARED = ('product_error', 'structure', 'background_psnr', 'mask_iou',
            'judge_pattern', 'judge_colours')
TABLES = {
    'Product': (
        'product_error', CONTROL, 'colour_error', 'structure',
        'gradient_error', 'checkerboard'),
    'Background and motion': (
        'background_psnr', 'background_ssim', 'iou', 'mask_iou',
        'displacement_error', 'consistency', 'motion'),
    'Share of clips that the judge reads as the truth': (
        'judge_shape', 'judge_pattern', 'judge_colour', 'judge_colours',
        'judge_surface', 'judge_surface_colour'),
}


@dataclass(frozen=True)
class Score:
    r"""A row and the intervals of its measures, the control included.

    Args:
        right: of each measure, with the right photo or without any.
        wrong: the same with the wrong photo; empty if the row reads none.
        less: the measures less those of the row it is compared with, pair by
            pair; empty without one.
    """
    row: Row
    right: Mapping[str, Interval]
    wrong: Mapping[str, Interval]
    less: Mapping[str, Interval] = field(default_factory=dict)


def score(row: Row, results: Results, base: Results | None = None) -> Score:
    r"""Summarise a row over all pairs.

    Args:
        base: results of the row it is compared with, if any.
    """
    photos = {photo: _of_photo(results, photo) for photo in row.photos}
    means = [summary(values, SEED) for values in photos.values()]
    less = {} if base is None else _less(
        photos[row.photos[0]], _of_photo(base, row.photos[0]))
    if len(row.photos) == 1:
        return Score(row, means[0], {}, less)
    errors = ([v['product_error'] for v in photos[photo]]
              for photo in ('wrong', 'right'))
    return Score(row, {**means[0], CONTROL: paired(*errors, SEED)}, means[1],
                 less)


def _of_photo(results: Results, photo: str) -> list[Mapping[str, float]]:
    return [results[key] for key in sorted(results) if key[1] == photo]


def _less(values, base) -> dict[str, Interval]:
    return {name: paired([v[name] for v in values], [v[name] for v in base],
                         SEED) for name in values[0]}


def write_csv(
    path: Path, rows: Sequence[Row], results: Mapping[str, Results]
) -> None:
    r"""Every measure of every edit; blank where a row has none of it."""
    with atomic_write(path) as temporary, \
            temporary.open('w', newline='', encoding='utf-8') as file:
        measures = list(dict.fromkeys(
            name for row in rows for values in results[row.name].values()
            for name in values))
        table = csv.writer(file, lineterminator='\n')
        table.writerow(['row', 'family', 'pair', 'photo', *measures])
        for row in rows:
            for (number, photo), values in sorted(results[row.name].items()):
                table.writerow([row.name, row.family, number, photo, *(
                    f'{values[name]:.6g}' if name in values else ''
                    for name in measures)])


def write_table(
    path: Path, scores: Sequence[Score], setup: Setup, pairs: int
) -> None:
    r"""Mean and interval of each measure, in Markdown."""
    lines = [
        '# Benchmark', '',
        f'{pairs} pairs of the {setup.seeds} seeds, {setup.frames} frames of '
        f'{setup.size}x{setup.size}. Mean [95 % interval over the pairs]; '
        f'↑ more is better, ↓ less is, → 0 as in the truth.', '',
        '"Right minus wrong" is the control: the product error with another '
        "product's photo less that with the right one, pair by pair. Above 0, "
        'something of the photo has arrived.', '']
    for title, names in TABLES.items():
        there = [name for name in names
                 if any(name in s.right for s in scores)]
        if there:
            lines += [f'## {title}', '', *_table(scores, there), '']
    compared = [s for s in scores if s.less]
    if compared:
        lines += [
            '## Less than all evaluations', '',
            'The difference to the row that evaluates everything, pair by '
            'pair; evaluations are of the whole edit.', '',
            *_differences(compared, scores), '']
    with atomic_write(path) as temporary:
        temporary.write_text('\n'.join(lines).rstrip() + '\n', 'utf-8')


def _table(scores, names) -> list[str]:
    heads = (COLUMNS[name] for name in names)
    lines = ['| row | method | ' + ' | '.join(
        f'{title} {better}'.rstrip() for title, _, better in heads) + ' |',
        '|---|---|' + '---|' * len(names)]
    for s in scores:
        cells = (cell(s.right.get(name), COLUMNS[name][1]) for name in names)
        lines.append(
            f'| `{s.row.name}` | {s.row.title} | ' + ' | '.join(cells) + ' |')
    return lines


def _differences(compared, scores) -> list[str]:
    bases = {s.row.name: s for s in scores}
    there = [name for name in COMPARED if name in compared[0].less]
    lines = ['| row | method | evaluations | of | ' + ' | '.join(
        f'{COLUMNS[name][0]} {COLUMNS[name][2]}' for name in there) + ' |',
        '|---|---|---|---|' + '---|' * len(there)]
    for s in compared:
        base = bases[s.row.against].right['evaluations'].mean
        cells = (cell(s.less[name], COLUMNS[name][1] + 1) for name in there)
        lines.append(
            f'| `{s.row.name}` | {s.row.title} | '
            f"{s.right['evaluations'].mean:.1f} | {base:.1f} | "
            + ' | '.join(cells) + ' |')
    return lines


def cell(value: Interval | None, digits: int) -> str:
    if value is None:
        return ''
    mean, low, high = (f'{number:.{digits}f}' for number in value)
    return f'{mean} [{low}, {high}]'


def write_sheets(
    out: Path, rows: Sequence[Row], setup: Setup, pairs: int
) -> None:
    r"""pair-N.jpg for the first pairs, all.jpg with one frame of each.

    Only rows of the main table are shown where there are any.
    """
    names = {row.name for row in MAIN}
    shown = [row for row in rows if row.name in names] or rows
    for old in out.glob('pair-*.jpg'):
        old.unlink()
    clips = []
    for number in range(min(pairs, SHOWN_PAIRS)):
        pair = setup.pair(number)
        clips.append(_clips(pair, number, shown, setup))
        told = {'template': pair.clip, 'truth': pair.truth}
        save_sheet([(f'{label}: {full_caption(told[label])}' if label in told
                else label, clip) for label, clip in clips[-1].items()],
              SHOWN_FRAMES, out / f'pair-{number}.jpg')
    # Of each pair one frame, side by side as if they were a clip.
    save_sheet([(label, torch.cat([middle(pair[label]) for pair in clips], 1))
           for label in clips[0]], len(clips), out / 'all.jpg')


def _clips(
    pair: Pair, number: int, rows: Sequence[Row], setup: Setup
) -> dict[str, torch.Tensor]:
    r"""By label: template, photos, truth and the rows' edits."""

    def photo(which):
        return Product(pair.photo(which)).fitted((setup.size, setup.size))[0]

    answer = pair.answer()
    clips = {'template': answer.source, 'photo': photo('right'),
             'truth': answer.truth}
    for row in rows:
        clips[row.title] = read_strip(
            setup.strip_file(row, number, row.photos[0]))
        if row.name == BEST.name:
            clips['wrong photo'] = photo('wrong')
            clips[f'{row.title}, wrong photo'] = read_strip(
                setup.strip_file(row, number, 'wrong'))
    return clips


def middle(clip: torch.Tensor) -> torch.Tensor:
    return clip[:, clip.size(1) // 2][:, None]


def save_sheet(pictures, columns: int, path: Path) -> None:
    with atomic_write(path) as temporary:
        contact_sheet(pictures, columns).save(
            temporary, quality=92, subsampling=0)
