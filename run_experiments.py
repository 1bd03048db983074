r"""Run many edits, or a grid of them, with the model loaded once.

    python run_experiments.py configs/pvtt/*.yaml --ckpt_dir CHECKPOINT
    python run_experiments.py configs/pvtt/demo.yaml --ckpt_dir CHECKPOINT \
        --sweep ref_c=0,0.1,0.2 --sweep ref_layers=all,middle,deep

All experiments are checked before the model is loaded. One that is bad, or
fails later, is listed as failed and the others run. Those that are finished
are skipped; those of which a setting, a file, the checkpoint or the program's
version has changed since are run again, in place of the old result.

OUT/NAME gets the files of each, OUT/results.csv and OUT/index.html show all.
Exit status: 0 all done, 1 some failed, 2 bad input and nothing was run, 130
interrupted.
"""
import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import generate
from wan import tasks
from wan.experiments.batch import Experiment, check_all, prepare, run_all
from wan.experiments.files import experiment_flags
from wan.experiments.sweep import Point, grid, read_sweeps
from wan.utils.program import run_program


def build_parser() -> argparse.ArgumentParser:
    r"""The flags of generate.py, which override the files, and a few more."""
    parser = generate.build_parser()
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    # A drawn seed would make every run a new experiment.
    parser.set_defaults(task='pvtt', base_seed=0)
    group = parser.add_argument_group('experiments')
    group.add_argument('files', nargs='+', help='experiment files')
    group.add_argument(
        '--out', default='results',
        help='folder of the results (default: %(default)s)')
    group.add_argument(
        '--sweep', action='append', default=[], metavar='KEY=A,B,...',
        help="values to try of an experiment file's key; several sweeps make "
        "a grid; where a value has commas: KEY='A,B;C'")
    return parser


def flag_reader(
    common: Sequence[str],
) -> Callable[[str | Path, Point], argparse.Namespace]:
    r"""Makes flags of a file and a point of the grid.

    The common flags override the file, the point overrides both. What the
    parser refuses is raised as a ValueError, since the others can still run.
    """
    parser = build_parser()

    def refuse(message: str) -> None:
        raise ValueError(f'{message[:1].upper()}{message[1:]}.')

    parser.error = refuse

    def read(file: str | Path, point: Point) -> argparse.Namespace:
        args = parser.parse_intermixed_args([
            *experiment_flags(file), *common,
            *(f'--{key}={value}' for key, value in point.items())])
        for name in ('files', 'out', 'sweep'):
            delattr(args, name)
        return args

    return read


def check(argv: Sequence[str]) -> tuple[argparse.Namespace, list[Experiment]]:
    r"""The flags and what is to be run.

    Raises:
        ValueError: bad input of the command, or no experiment is good.
    """
    args = build_parser().parse_intermixed_args(argv)
    read = flag_reader(argv)
    jobs = grid(args.files, read_sweeps(args.sweep))
    return args, check_all(
        {name: partial(read, *job) for name, job in jobs.items()}, args.out)


def run(job: tuple[argparse.Namespace, list[Experiment]]) -> int:
    r"""Run what was checked, or only print the plans; gives the exit code."""
    args, experiments = job
    if args.dry_run:
        for experiment in experiments:
            print(f'{experiment.name}: {experiment.status}')
            if experiment.status == 'waiting':
                print(tasks.plan(prepare(experiment)))
    else:
        run_all(experiments, args.out)
    return int(any(e.status == 'failed' for e in experiments))


def main(argv: Sequence[str] | None = None) -> int:
    r"""Exit code: see the top of this file."""
    argv = sys.argv[1:] if argv is None else list(argv)
    return run_program(
        'run_experiments.py', lambda: check(argv), run,
        'what is finished stays')


if __name__ == '__main__':
    sys.exit(main())
