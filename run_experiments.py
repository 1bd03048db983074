r"""Run many edits, or a grid of them, with the model loaded once a GPU.

    python run_experiments.py configs/pvtt/*.yaml --ckpt_dir CHECKPOINT
    python run_experiments.py configs/pvtt/demo.yaml --ckpt_dir CHECKPOINT \
        --sweep ref_c=0,0.1,0.2 --sweep ref_layers=all,middle,deep
    python run_experiments.py --template FOLDER --products products.csv \
        --ckpt_dir CHECKPOINT

All experiments are checked before the model is loaded. One that is bad, or
fails later, is listed as failed and the others run. Those that are finished
are skipped; those of which a setting, a file, the checkpoint or the program
that edits has changed since are run again, in place of the old result.

A table of products is a catalogue: each is put into the template that
generate.py --prepare FOLDER has made. Its columns are image, target_prompt or
name and attributes, mask, and any key of an experiment file.

OUT/NAME gets the files of each, OUT/results.csv and OUT/index.html show all.
Exit status: 0 all done, 1 some failed, 2 bad input and nothing was run, 130
interrupted, 143 terminated.
"""
import argparse
import glob
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import generate
from wan import jobs
from wan.distributed.groups import world_size
from wan.experiments.batch import in_turn, run_all
from wan.experiments.checking import check_all, prepare
from wan.experiments.experiment import Experiment
from wan.experiments.products import Product, read_products
from wan.experiments.sweep import Point, grid, read_sweeps
from wan.experiments.workers import in_workers, worker_devices
from wan.jobs.preparing import setting_names
from wan.jobs.settings_file import read_experiment, sweep_keys
from wan.jobs.task import Task
from wan.tasks import TASKS
from wan.utils.flags import given_flags
from wan.utils.program import Parser, run_program, use_utf8

ABLE = {name: row for name, row in TASKS.items() if row.experiment}
# A drawn seed would make every run a new experiment.
DEFAULTS = {'base_seed': 0}


def build_parser() -> Parser:
    r"""The flags of generate.py, which override the files, and a few more."""
    parser = generate.settings_parser(ABLE, defaults=DEFAULTS)
    parser.description, parser.epilog = __doc__, None
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    group = parser.add_argument_group('experiments')
    group.add_argument('files', nargs='*', help='experiment files')
    group.add_argument(
        '--products', metavar='TABLE.csv',
        help='in place of experiment files, a product a row')
    group.add_argument(
        '--out', default='results',
        help='folder of the results (default: %(default)s)')
    group.add_argument(
        '--sweep', action='append', default=[], metavar='KEY=A,B,...',
        help="values to try of an experiment file's key; several sweeps make "
        "a grid; where a value has commas: KEY='A,B;C'")
    group.add_argument(
        '--workers', default='auto', metavar='N',
        help='experiments that run at once, each in a process with a GPU and '
        'a model of its own; auto is one for each GPU (default: %(default)s)')
    group.add_argument(
        '--products_at_once', default='1', metavar='N',
        help='products in one template that run together and evaluate it once '
        '(1 to 64); auto is as many as fit the memory, at most 8 '
        '(default: %(default)s)')
    return parser


def products_at_once(text: str, devices: Sequence[str | None]) -> int | None:
    r"""How many run together; None is as many as fit.

    Raises:
        ValueError: no such number, or several with several workers.
    """
    if text != 'auto' and not (text.isdecimal() and 1 <= int(text) <= 64):
        raise ValueError(f'products_at_once is {text!r}, allowed: auto, or a '
                         f'number from 1 to 64.')
    if text != '1' and len(devices) > 1:
        raise ValueError(
            f'products_at_once {text} needs workers 1: each of '
            f'{len(devices)} workers runs one product at a time.')
    return None if text == 'auto' else int(text)


def reader(
    row: Task, flags: Mapping[str, object]
) -> Callable[[str | Path | Product, Point], dict[str, object]]:
    r"""Makes settings of a file, or a product, and a point of the grid.

    The flags override the file, the point overrides both.
    """

    def read(
        source: str | Path | Product, point: Point
    ) -> dict[str, object]:
        over = {**flags, **point}
        if isinstance(source, Product):
            return {**DEFAULTS, **source.read(row, over)}
        return {**DEFAULTS, **read_experiment(source, row), **over}

    return read


def check(argv: Sequence[str]) -> tuple[argparse.Namespace, list[Experiment]]:
    r"""The flags and what is to be run.

    Raises:
        ValueError: bad input of the command, or no experiment is good.
    """
    parser = build_parser()
    flags, args = given_flags(
        parser.parse_intermixed_args, argv, setting_names(ABLE))
    if world_size() > 1:
        raise ValueError(
            f'torchrun has started {world_size()} processes: start '
            f'run_experiments.py without it; --workers uses several GPUs.')
    args.devices = worker_devices(args.workers, flags.get('device'))
    args.at_once = products_at_once(args.products_at_once, args.devices)
    row = ABLE[args.task]
    read = reader(row, flags)
    sweeps = read_sweeps(args.sweep, sweep_keys(row))
    if bool(args.files) == bool(args.products):
        raise ValueError('Experiment files are needed, or --products with a '
                         'table: one of them.')
    if args.products:
        files = [args.products]
        points = grid(read_products(args.products, row), sweeps,
                      lambda product: product.label)
    else:
        files = [name for text in args.files for name in _named(text)]
        points = grid(files, sweeps)
    return args, check_all(
        args.task,
        {name: partial(read, *point) for name, point in points.items()},
        args.out, files, flags.get('overwrite', False), bool(args.products))


def _named(text: str) -> list[str]:
    r"""The files of a pattern that no shell expanded, else the one file."""
    return not Path(text).exists() and sorted(
        glob.glob(text, recursive=True)) or [text]


def run(checked: tuple[argparse.Namespace, list[Experiment]]) -> int:
    r"""Run what was checked, or only print the plans; gives the exit code."""
    args, experiments = checked
    if args.dry_run:
        for experiment in experiments:
            print(f'{experiment.name}: {experiment.status}')
            if experiment.status == 'waiting':
                print(jobs.plan(jobs.begin(prepare(experiment))))
    else:
        waiting = sum(e.status == 'waiting' for e in experiments)
        devices = args.devices[:waiting]
        run_all(experiments, args.out,
                partial(in_turn, at_once=args.at_once) if len(devices) < 2
                else partial(in_workers, devices))
    return int(any(e.status == 'failed' for e in experiments))


def main(argv: Sequence[str] | None = None) -> int:
    r"""Exit code: see the top of this file."""
    argv = sys.argv[1:] if argv is None else list(argv)
    return run_program(
        'run_experiments.py', lambda: check(argv), run,
        'what is finished stays')


if __name__ == '__main__':
    use_utf8()
    sys.exit(main())
