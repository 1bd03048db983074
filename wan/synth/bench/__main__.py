r"""Benchmark the editing methods on procedural clips with a true answer.

    python -m wan.synth.bench --quick
    python -m wan.synth.bench --rows main --out docs/quality
    python -m wan.synth.bench --native
    python -m wan.synth.bench --depth main --photos anchored any views
    python -m wan.synth.bench --depth bounds
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

from wan.jobs.checkpoint import EMBEDDED, embedded_checkpoint
from wan.utils.program import Parser, run_program
from wan.utils.record import check_writable

from .costs import select
from .depth.pairs import PHOTOS
from .depth.plot import write_depth_plot
from .depth.report import (
    AGAINST,
    base_of,
    write_depth_sheets,
    write_depth_table,
)
from .depth.rows import taken_as
from .find import found, tell
from .native_report import write_native_sheet, write_native_table
from .pairs import SEEDS
from .plots import require_matplotlib, write_plots
from .report import score, write_csv, write_sheets, write_table
from .rows import QUICK, Row
from .run import run
from .store import Setup
from .worlds import WORLDS, World

log = logging.getLogger('wan.synth.bench')

# A quick look does not replace the report.
QUICK_OUT = Path('outputs/benchmark-quick')
QUICK_PAIRS = {'flat': 4, 'depth': 2}


def build_parser() -> argparse.ArgumentParser:
    r"""Every flag; errors are raised as ValueError."""
    parser = Parser(
        prog='python -m wan.synth.bench', description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        '--quick', action='store_true',
        help='a few rows with few steps, on few pairs')
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
    what.add_argument(
        '--depth', nargs='?', const='main', metavar='ROWS',
        help="solids that turn; like --rows, but of their rows: 'main', "
        "'choices', 'bounds' (what needs no model), 'quick', or names "
        '(default: main)')
    parser.add_argument(
        '--photos', nargs='+', choices=PHOTOS,
        help='of --depth: taken near the pose of the middle frame, from any '
        'side, or in views all around (default: all of them)')
    parser.add_argument(
        '--against', metavar='ROWS',
        help='of --depth: rows that the others are compared with, pair by '
        f"pair (default: {','.join(AGAINST)}, where they are run)")
    parser.add_argument(
        '--pairs', type=int, help=f'how many (default: {_usual("pairs")})')
    parser.add_argument(
        '--frames', type=int,
        help=f'of a clip, 4n + 1 (default: {_usual("frames")})')
    parser.add_argument(
        '--seeds', choices=SEEDS, default='test',
        help="'tune' to choose settings by (default: %(default)s)")
    parser.add_argument(
        '--ckpt_dir', help='checkpoint folder (default: the embedded model; '
        '--depth: checkpoints/depth)')
    parser.add_argument(
        '--out', type=Path,
        help=f'folder of the report (default: {_usual("out")}; few rows '
        f'in few steps: {QUICK_OUT})')
    parser.add_argument(
        '--work', type=Path, default=Path('outputs/benchmark'),
        help='folder of the finished edits (default: %(default)s)')
    parser.add_argument(
        '--workers', type=int, default=2,
        help='processes of one thread each (default: %(default)s)')
    return parser


def _usual(name: str) -> str:
    r"""What is usual in each world, for readers."""
    return '; '.join(
        f'{getattr(world, name)}' if key == 'flat' else
        f'--{key}: {getattr(world, name)}' for key, world in WORLDS.items())


def prepare(
    argv: Sequence[str] | None
) -> tuple[argparse.Namespace, tuple[Row, ...], int, Setup]:
    r"""Flags, rows, number of pairs and setup, all checked.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    args = build_parser().parse_args(argv)
    name = 'native' if args.native else 'depth' if args.depth else 'flat'
    world, quick = WORLDS[name], args.quick or args.depth == 'quick'
    rows = QUICK if args.quick else select(
        args.native or args.depth or args.rows or 'main', world.sets)
    rows = _with_photos(args, rows)
    pairs = args.pairs
    if pairs is None:
        pairs = QUICK_PAIRS[name] if quick else world.pairs
    args.out = args.out or (QUICK_OUT if quick else world.out)
    frames = world.frames if args.frames is None else args.frames
    for flag, value, most in (('pairs', pairs, len(SEEDS[args.seeds])),
                              ('frames', frames, 81),
                              ('workers', args.workers, 64)):
        if not 1 <= value <= most:
            raise ValueError(f'--{flag} is {value}, allowed is 1 to {most}.')
    if frames % 4 != 1 or frames < 5:
        raise ValueError(f'--frames is {frames}, allowed is 4n + 1 from 5.')
    for folder in (args.out, args.work):
        check_writable(folder / 'results.csv')
    if name != 'native':
        require_matplotlib()
    judge = world.judge if world.judge and world.judge.is_file() else None
    return args, rows, pairs, Setup(
        _checkpoint(args, rows, world), args.work, args.seeds, world.size,
        frames, judge, name)


def _with_photos(
    args: argparse.Namespace, rows: tuple[Row, ...]
) -> tuple[Row, ...]:
    r"""Rows in depth, of each way photos are to be taken."""
    if args.depth:
        rows = taken_as(rows, args.photos or PHOTOS)
        for name in (args.against or '').split(','):
            if name and not any(base_of(name, kind, rows)
                                for kind in args.photos or PHOTOS):
                raise ValueError(
                    f'--against has {name!r}, which is not among the rows '
                    f'that are run: {", ".join(row.name for row in rows)}.')
        return rows
    for flag in ('photos', 'against'):
        if getattr(args, flag):
            raise ValueError(f'--{flag} is of --depth alone.')
    return rows


def _checkpoint(
    args: argparse.Namespace, rows: Sequence[Row], world: World
) -> Path | None:
    r"""The folder of the model; None where nothing needs it."""
    if args.ckpt_dir:
        return Path(args.ckpt_dir)
    if not args.find and not any(row.needs_model for row in rows):
        return None
    if world.checkpoint == EMBEDDED:
        return embedded_checkpoint()
    if not world.checkpoint.is_dir():
        raise ValueError(
            f'The model of this world is not at {world.checkpoint}; '
            '--ckpt_dir names another, and rows without a model need none.')
    return world.checkpoint


def report(args: argparse.Namespace, rows: Sequence[Row], pairs: int,
           setup: Setup) -> None:
    r"""Run what is missing and write the report."""
    if args.find:
        tell(found(setup, pairs))
        return
    if setup.judge is None and setup.questions.judge is not None:
        log.info('The judge has no weights yet: its columns are left out.')
    out, results = args.out, run(rows, setup, pairs, args.workers)
    write_csv(out / 'results.csv', rows, results)
    if setup.world == 'native':
        write_native_table(out / 'table.md', rows, results, setup, pairs)
        write_native_sheet(out / 'all.jpg', rows, setup, pairs)
    elif setup.world == 'depth':
        against = args.against.split(',') if args.against else AGAINST
        write_depth_table(
            out / 'table.md', rows, results, setup, pairs, against)
        write_depth_plot(
            out / 'differences.png', rows, results, against[-1])
        write_depth_sheets(out, rows, results, setup, pairs)
    else:
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
