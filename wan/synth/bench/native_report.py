r"""The table of native pairs, by the size of the product, and one picture."""
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from wan.product.photo import Product
from wan.utils.record import atomic_write

from .native_rows import PASTE, WHOLE, NativeRow
from .pairs import same_shape
from .report import SEED, cell, middle, save_sheet
from .stats import bootstrap, paired
from .store import SHOWN_PAIRS, Results, Setup, read_strip

# Share of the frame that divides small products from large ones.
SMALL = 1 / 8
COLUMNS = {
    'product_error': ('product error ↓', 3),
    'background_psnr': ('background PSNR ↑', 1),
    'touched': ('background touched ↓', 3),
    'found_iou': ('mask IoU ↑', 3),
    'seam': ('seam → 1', 2),
}
HEADS = (
    '| row | method | ' + ' | '.join(head for head, _ in COLUMNS.values())
    + ' | error above the paste ↓ | error below the whole frame ↑ |\n|---|---|'
    + '---|' * (len(COLUMNS) + 2))


def write_native_table(
    path: Path,
    rows: Sequence[NativeRow],
    results: Mapping[str, Results],
    setup: Setup,
    pairs: int,
) -> None:
    r"""Mean and interval of each measure, for each class of sizes."""
    lines = [
        '# Native templates', '',
        f'{pairs} pairs of the {setup.seeds} seeds, {setup.frames} frames of '
        f'{setup.size} rows; the model sees 128x128. Mean [95 % interval over '
        f'the pairs]; all is measured at the size of the template. "Touched" '
        f'is the share of the background that differs from the template, bit '
        f'for bit. "Seam" is the change between frames, less that of the '
        f'truth, where a window fades into the next over that elsewhere.', '',
        f'The last two columns are differences of product errors, pair by '
        f'pair: from `{PASTE.name}`, and from `{WHOLE.name}`, this also in '
        f'percent of it. The paste is as sharp as the truth: what it errs by '
        f'is size and turn, which a photo cannot tell.', '']
    shares = {key[0]: values['share']
              for key, values in results[rows[0].name].items()}
    small = {n for n, share in shares.items() if share < SMALL}
    for title, chosen in {
        'All products': set(shares),
        'Products of less than 1/8 of the frame': small,
        'The same, the new product of the same shape':
            {n for n in small if same_shape(n)},
        'Products of 1/8 of the frame or more': set(shares) - small,
    }.items():
        if chosen:
            lines += [f'## {title} ({len(chosen)} pairs)', '', HEADS, *(
                _line(row, results, sorted(chosen)) for row in rows), '']
    with atomic_write(path) as temporary:
        temporary.write_text('\n'.join(lines).rstrip() + '\n', 'utf-8')


def _line(row, results, numbers) -> str:
    values = _values(row, results, numbers)
    cells = [cell(bootstrap([v[name] for v in values], SEED), digits)
             for name, (_, digits) in COLUMNS.items()]
    cells += [_above(row, PASTE, results, numbers),
              _below(row, WHOLE, results, numbers)]
    return f'| `{row.name}` | {row.title} | {" | ".join(cells)} |'


def _above(row, other, results, numbers) -> str:
    r"""How much larger the product error is than that of another row."""
    if other.name not in results or row.name == other.name:
        return ''
    return cell(paired(*(
        _errors(which, results, numbers) for which in (row, other)), SEED), 3)


def _below(row, other, results, numbers) -> str:
    r"""How much smaller it is, and how many percent."""
    gain = _above(other, row, results, numbers) \
        if other.name in results else ''
    if not gain:
        return ''
    before, after = (sum(_errors(which, results, numbers))
                     for which in (other, row))
    return f'{gain}, {100 * (1 - after / before):.0f} %'


def _errors(row, results, numbers) -> list[float]:
    return [v['product_error'] for v in _values(row, results, numbers)]


def _values(row, results, numbers) -> list[Mapping[str, float]]:
    return [results[row.name][number, row.photos[0]] for number in numbers]


def write_native_sheet(
    path: Path, rows: Sequence[NativeRow], setup: Setup, pairs: int
) -> None:
    r"""One frame of each of the first pairs under every row."""
    clips: dict[str, list[torch.Tensor]] = {}
    count = min(pairs, SHOWN_PAIRS)
    for number in range(count):
        pair = setup.pair(number)
        photo = Product(pair.photo('right')).fitted(pair.clip.shape[::-1])[0]
        answer = pair.answer()
        shown = {'template': answer.source, 'photo': photo,
                 'truth': answer.truth}
        shown |= {row.title: read_strip(setup.strip_file(
            row, number, row.photos[0])) for row in rows}
        for label, clip in shown.items():
            clips.setdefault(label, []).append(middle(clip))
    save_sheet([(label, torch.cat(parts, 1))
                for label, parts in clips.items()], count, path)
