r"""The table of the world in depth."""
from collections.abc import Mapping, Sequence

from ..stats import Interval, bootstrap, paired
from .rows import BOUNDS

# Column -> what it is called, and its digits.
MEASURES = {
    'product_error': ('product error', 3), 'phase_free': ('phase-free', 3),
    'structure': ('structure', 2), 'light_error': ('light', 3),
    'occlusion_error': ('occlusion', 3), 'background_psnr': ('background', 1),
    'motion': ('motion', 2)}
BASE = 'paste'
COMPARED = ('product_error', 'phase_free', 'structure', 'light_error',
            'occlusion_error')
# A turn is right within a fifth of it, or half a degree a frame.
WITHIN, SLACK = .2, .009
Line = Mapping[str, object]


def table(lines: Sequence[Line], seeds: str) -> str:
    r"""Markdown of all results, a part for each way photos are taken."""
    count = len({line['pair'] for line in lines})
    parts = [f'{count} pairs of the {seeds} seeds. Brackets are 95 % '
             'bootstrap intervals over the pairs, paired where two rows are '
             'compared.']
    for photo in dict.fromkeys(line['photo'] for line in lines):
        own = [line for line in lines if line['photo'] == photo]
        parts += [f'## Photo: {photo}', _levels(own), _differences(own)]
    return '\n\n'.join(parts) + '\n'


def turn_is_right(line: Line) -> bool:
    r"""Whether a result turns at the truth's rate, within a fifth."""
    wanted = line['true_turn']
    return abs(line['turn'] - wanted) <= max(SLACK, WITHIN * abs(wanted))


def _levels(lines: Sequence[Line]) -> str:
    rows = [['row', *(title for title, _ in MEASURES.values()), 'turn right',
             'wrong photo adds']]
    # A plain skin does not show a turn, not even in the truth.
    shown = _of(lines, 'truth', 'right')
    for bound in BOUNDS:
        own = _of(lines, bound.name, 'right')
        cells = [bound.title]
        for name, (_, digits) in MEASURES.items():
            values = [line[name] for line in own.values() if name in line]
            finite = [value for value in values if abs(value) < 1e6]
            cells.append(
                f'{bootstrap(finite, 0).mean:.{digits}f}' if finite else '')
        right = [turn_is_right(line) for pair, line in own.items()
                 if turn_is_right(shown[pair])]
        cells.append(f'{sum(right)} of {len(right)}')
        wrong = _of(lines, bound.name, 'wrong')
        cells.append(_span(paired(
            [wrong[pair]['product_error'] for pair in own],
            [own[pair]['product_error'] for pair in own], 0)) if wrong else '')
        rows.append(cells)
    return _markdown(rows)


def _differences(lines: Sequence[Line]) -> str:
    r"""Of the other pastes from today's, pair by pair."""
    titles = [MEASURES[name][0] for name in COMPARED]
    rows = [["minus today's paste", *titles]]
    base = _of(lines, BASE, 'right')
    for bound in BOUNDS:
        if bound.kind != 'paste' or bound.name == BASE:
            continue
        own, cells = _of(lines, bound.name, 'right'), [bound.title]
        for name in COMPARED:
            pairs = [pair for pair in own if name in own[pair]]
            cells.append(_span(paired(
                [own[pair][name] for pair in pairs],
                [base[pair][name] for pair in pairs], 0)) if pairs else '')
        rows.append(cells)
    return _markdown(rows)


def _of(lines, row: str, which: str) -> dict[int, Line]:
    return {line['pair']: line for line in lines
            if line['row'] == row and line['which'] == which}


def _span(interval: Interval) -> str:
    mean, low, high = interval
    return f'{mean:+.3f} [{low:+.3f}, {high:+.3f}]'


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    lines.insert(1, '|' + '---|' * len(rows[0]))
    return '\n'.join(lines)
