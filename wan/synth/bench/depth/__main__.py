r"""Measure what needs no model in the world in depth.

    python -m wan.synth.bench.depth --seeds test --pairs 64 --out FOLDER

It writes results.csv, one line a result, and table.md, with 95 % intervals.
Stopped, it goes on where it was; each FOLDER is of one set of seeds.
"""
import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from wan.utils.program import Parser, run_program
from wan.utils.progress import progress
from wan.utils.record import atomic_write

from ..measures import product_error
from ..pairs import SEEDS
from .measures import Answer, measure_depth
from .pairs import PHOTOS, make_depth_pair
from .report import table
from .rows import BOUNDS

TEXTS = ('photo', 'row', 'which')
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
    answer, found, same = Answer.of(pair), [], {}
    for photo in photos:
        for row in BOUNDS:
            keys = {'photo': photo, 'row': row.name, 'pair': number,
                    'which': 'right', 'true_turn': answer.turn}
            if row.name not in same:
                values = measure_depth(row.run(pair, answer, photo), answer)
            if row.kind != 'paste':  # whatever the photo
                values = same.setdefault(row.name, values)
                found.append(keys | values)
                continue
            wrong = product_error(
                row.run(pair, answer, photo, 'wrong'), answer.truth,
                answer.new)
            found += [keys | values, keys | {
                'which': 'wrong', 'product_error': wrong}]
    return found


def run(args: argparse.Namespace) -> None:
    r"""Results that are there already are kept."""
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / 'results.csv'
    lines = _read(file) if file.is_file() else []
    done = {line['pair'] for line in lines}
    with progress(args.pairs, 'pairs') as bar:
        for number in range(args.pairs):
            if number not in done:
                lines += results(number, args.seeds, args.photos)
                _write(file, lines)
            bar.update()
    with atomic_write(args.out / 'table.md') as temporary:
        temporary.write_text(table(lines, args.seeds), 'utf-8')


def _read(file: Path) -> list[dict[str, object]]:
    with file.open(newline='') as lines:
        return [{name: value if name in TEXTS else
                 int(value) if name == 'pair' else float(value)
                 for name, value in line.items() if value}
                for line in csv.DictReader(lines)]


def _write(file: Path, lines: Sequence[dict[str, object]]) -> None:
    names = [*KEYS, *sorted({name for line in lines for name in line
                             if name not in KEYS})]
    with atomic_write(file) as temporary, \
            temporary.open('w', newline='') as out:
        writer = csv.DictWriter(out, names, lineterminator='\n')
        writer.writeheader()
        for line in lines:
            writer.writerow({
                name: f'{value:.6g}' if isinstance(value, float) else value
                for name, value in line.items()})


def main(argv: Sequence[str] | None = None) -> int:
    r"""Exit code: 0 done, 2 bad input, 1 fault, 130 interrupted."""
    return run_program('wan.synth.bench.depth', lambda: prepare(argv), run,
                       'run it again')


if __name__ == '__main__':
    sys.exit(main())
