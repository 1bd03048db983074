r"""Benchmark the editing methods on procedural clips with a true answer.

    python -m wan.synth.bench --quick
    python -m wan.synth.bench --rows main --out docs/quality
    python -m wan.synth.bench --native
    python -m wan.synth.bench --find

What is finished is kept in --work: a run that was stopped goes on where it
was, and one with other settings starts anew. OUT gets results.csv (every
edit), table.md, plots and contact sheets.

Exit status: 0 done, 2 bad input, 1 fault, 130 interrupted.
"""
import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from wan.jobs.checkpoint import embedded_checkpoint
from wan.utils.program import Parser, run_program
from wan.utils.record import check_writable

from ..judge import WEIGHTS
from ..native import HEIGHT
from .costs import select
from .find import found, tell
from .native_report import write_native_sheet, write_native_table
from .native_rows import NATIVE_SETS
from .pairs import SEEDS
from .plots import require_matplotlib, write_plots
from .report import score, write_csv, write_sheets, write_table
from .rows import QUICK, Row
from .run import run
from .store import Setup

log = logging.getLogger('wan.synth.bench')

SIZE, FRAMES = 128, 17
PAIRS, QUICK_PAIRS = 64, 4
# A quick look does not replace the report.
OUT, QUICK_OUT = Path('docs/quality'), Path('outputs/benchmark-quick')
# Native templates are 24 frames a second; so many take a minute for a pair.
NATIVE_PAIRS, NATIVE_FRAMES = 24, 41
NATIVE_OUT = OUT / 'native'


def build_parser() -> argparse.ArgumentParser:
    r"""Every flag; errors are raised as ValueError."""
    parser = Parser(
        prog='python -m wan.synth.bench', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        '--quick', action='store_true',
        help=f'a few rows with few steps, on {QUICK_PAIRS} pairs')
    what.add_argument(
        '--find', action='store_true',
        help='only look for the products, and tell how well they were found')
    what.add_argument(
        '--rows', help="'main', 'ablations', 'grid' (both), or names of rows "
        'or of an ablation, separated by commas (default: main)')
    what.add_argument(
        '--native', nargs='?', const='main', metavar='ROWS',
        help='large, long templates with small and large products; like '
        '--rows, but of their rows (default: main)')
    parser.add_argument(
        '--pairs', type=int,
        help=f'how many (default: {PAIRS}; --quick: {QUICK_PAIRS}; --native: '
        f'{NATIVE_PAIRS})')
    parser.add_argument(
        '--frames', type=int, help='of a clip, 4n + 1 (default: '
        f'{FRAMES}; --native: {NATIVE_FRAMES})')
    parser.add_argument(
        '--seeds', choices=SEEDS, default='test',
        help="'tune' to choose settings by (default: %(default)s)")
    parser.add_argument(
        '--ckpt_dir', help='checkpoint folder (default: the embedded model)')
    parser.add_argument(
        '--out', type=Path,
        help=f'folder of the report (default: {OUT}; --quick: {QUICK_OUT}; '
        f'--native: {NATIVE_OUT})')
    parser.add_argument(
        '--work', type=Path, default=Path('outputs/benchmark'),
        help='folder of the finished edits (default: %(default)s)')
    parser.add_argument(
        '--workers', type=int, default=2,
        help='processes of one thread each (default: %(default)s)')
    return parser


def prepare(
    argv: Sequence[str] | None
) -> tuple[argparse.Namespace, tuple[Row, ...], int, Setup]:
    r"""Flags, rows, number of pairs and setup, all checked.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    args = build_parser().parse_args(argv)
    native = args.native is not None
    if args.quick:
        rows, usual = QUICK, (QUICK_PAIRS, QUICK_OUT)
    elif native:
        rows = select(args.native, NATIVE_SETS)
        usual = NATIVE_PAIRS, NATIVE_OUT
    else:
        rows, usual = select(args.rows or 'main'), (PAIRS, OUT)
    pairs = usual[0] if args.pairs is None else args.pairs
    args.out = args.out or usual[1]
    frames = args.frames
    if frames is None:
        frames = NATIVE_FRAMES if native else FRAMES
    for name, value, most in (('pairs', pairs, len(SEEDS[args.seeds])),
                              ('frames', frames, 81),
                              ('workers', args.workers, 64)):
        if not 1 <= value <= most:
            raise ValueError(f'--{name} is {value}, allowed is 1 to {most}.')
    if frames % 4 != 1 or frames < 5:
        raise ValueError(f'--frames is {frames}, allowed is 4n + 1 from 5.')
    for folder in (args.out, args.work):
        check_writable(folder / 'results.csv')
    require_matplotlib()
    setup = Setup(
        Path(args.ckpt_dir or embedded_checkpoint()), args.work,
        args.seeds, HEIGHT if native else SIZE, frames,
        # The judge knows square frames alone.
        WEIGHTS if WEIGHTS.is_file() and not native else None, native)
    return args, rows, pairs, setup


def report(args: argparse.Namespace, rows: Sequence[Row], pairs: int,
           setup: Setup) -> None:
    r"""Run what is missing and write the report."""
    if args.find:
        tell(found(setup, pairs))
        return
    if setup.judge is None and not setup.native:
        log.info('The judge has no weights yet: its columns are left out.')
    out, results = args.out, run(rows, setup, pairs, args.workers)
    write_csv(out / 'results.csv', rows, results)
    if setup.native:
        write_native_table(out / 'table.md', rows, results, setup, pairs)
        write_native_sheet(out / 'all.jpg', rows, setup, pairs)
        log.info('See %s', out)
        return
    scores = [score(row, results[row.name], results.get(row.against))
              for row in rows]
    write_table(out / 'table.md', scores, setup, pairs)
    write_plots(out, scores)
    write_sheets(out, rows, setup, pairs)
    log.info('See %s', out)


def main(argv: Sequence[str] | None = None) -> int:
    r"""Exit code: see the top of this file."""
    return run_program(
        'wan.synth.bench', lambda: prepare(argv), lambda job: report(*job),
        'what is finished stays')


if __name__ == '__main__':
    sys.exit(main())
