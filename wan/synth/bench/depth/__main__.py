r"""Measure what needs no model in the world in depth.

    python -m wan.synth.bench.depth --seeds test --pairs 64 --out FOLDER

It writes results.csv, one line a result, and table.md, with 95 % intervals.
"""
import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from wan.utils.program import Parser, run_program
from wan.utils.progress import progress
from wan.utils.record import atomic_write

from ..pairs import SEEDS
from .measures import Answer, measure_depth
from .pairs import PHOTOS, make_depth_pair
from .report import table
from .rows import BOUNDS, Bound

KEYS = ('photo', 'row', 'pair', 'which', 'true_turn')


def prepare(argv: Sequence[str] | None) -> argparse.Namespace:
    r"""Flags, all checked.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    parser = Parser(prog='python -m wan.synth.bench.depth',
                    description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', choices=SEEDS, default='test')
    parser.add_argument('--pairs', type=int, default=64)
    parser.add_argument('--photos', nargs='+', choices=PHOTOS,
                        default=['anchored', 'any'])
    parser.add_argument('--out', type=Path, required=True,
                        help='folder of results.csv and table.md')
    args = parser.parse_args(argv)
    if args.pairs < 1:
        raise ValueError(f'--pairs is {args.pairs}, allowed is 1 or more.')
    return args


def results(
    number: int, seeds: str, photos: Sequence[str]
) -> list[dict[str, object]]:
    r"""All rows of a pair."""
    pair = make_depth_pair(number, SEEDS[seeds])
    answer, found = Answer.of(pair), []
    for photo in photos:
        for row in BOUNDS:
            for which in _photos(row):
                values = measure_depth(
                    row.run(pair, answer, photo, which), answer)
                found.append({
                    'photo': photo, 'row': row.name, 'pair': number,
                    'which': which, 'true_turn': answer.turn} | values)
    return found


def run(args: argparse.Namespace) -> None:
    lines = []
    with progress(args.pairs, 'pairs') as bar:
        for number in range(args.pairs):
            lines += results(number, args.seeds, args.photos)
            bar.update()
    args.out.mkdir(parents=True, exist_ok=True)
    names = [*KEYS, *sorted({name for line in lines for name in line
                             if name not in KEYS})]
    with atomic_write(args.out / 'results.csv') as temporary, \
            temporary.open('w', newline='') as file:
        writer = csv.DictWriter(file, names, lineterminator='\n')
        writer.writeheader()
        for line in lines:
            writer.writerow({
                name: f'{value:.6g}' if isinstance(value, float) else value
                for name, value in line.items()})
    with atomic_write(args.out / 'table.md') as temporary:
        temporary.write_text(table(lines, args.seeds), 'utf-8')


def _photos(row: Bound) -> tuple[str, ...]:
    return ('right', 'wrong') if row.kind == 'paste' else ('right',)


def main(argv: Sequence[str] | None = None) -> int:
    r"""Exit code: 0 done, 2 bad input, 1 fault, 130 interrupted."""
    return run_program('wan.synth.bench.depth', lambda: prepare(argv), run,
                       'run it again')


if __name__ == '__main__':
    sys.exit(main())
