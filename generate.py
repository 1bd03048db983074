r"""Command line of Wan2.1: flags to settings, settings to a row of TASKS."""
import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from wan import jobs
from wan.configs import WAN_CONFIGS
from wan.distributed.groups import from_first, local_device, processes
from wan.jobs.preparing import setting_names
from wan.jobs.settings import JobSettings
from wan.jobs.settings_file import experiment_task, read_experiment
from wan.jobs.task import Job, Task
from wan.jobs.template_file import FILE
from wan.tasks import TASKS
from wan.utils.flags import MAX_NUMBER, add_flags, given_flags, heading
from wan.utils.program import Parser, rank, run_program, several, use_utf8


def _defaults(task: str) -> Mapping[str, object]:
    r"""What settings left out mean to a task, as far as its name tells."""
    return TASKS[task].defaults({}, WAN_CONFIGS.get(task, {}))


EXAMPLE_PROMPT = {
    task: {'prompt': _defaults(task)['prompt']}
    for task in TASKS if 'prompt' in _defaults(task)
}


@dataclass(frozen=True)
class Command:
    r"""A command line.

    Args:
        task: its name.
        given: the settings that are given, by name.
        reads: files that settings were read from.
        dry_run: only print the plan.
        also: what is made in place of the result, see `Task.also`.
    """
    task: str
    given: Mapping[str, object]
    reads: tuple[Path, ...] = ()
    dry_run: bool = False
    also: str | None = None


def build_parser(only: str | None = None) -> Parser:
    r"""Every flag, its type and default; errors are raised as ValueError.

    Args:
        only: the task whose settings become flags; None for all.
    """
    parser = settings_parser(TASKS, only)
    parser.add_argument(
        '--config', help='experiment file, see configs/pvtt; flags override '
        'it')
    parser.add_argument(
        '--preview', action='store_true',
        help='of --task pvtt: write one picture of the product that is found, '
        'the window that the model sees and the photo cut out, and stop')
    parser.add_argument(
        '--prepare', metavar='FOLDER',
        help='of --task pvtt: do once, into a folder, what belongs to the '
        'template alone, and stop; --template FOLDER uses it for any product')
    return parser


def settings_parser(
    tasks: Mapping[str, Task],
    only: str | None = None,
    defaults: Mapping[str, object] | None = None,
) -> Parser:
    r"""The flags of tasks, without --config.

    Args:
        tasks: rows of the table that can be chosen.
        only: the task whose settings become flags; None for all.
        defaults: that go before those of the tasks.
    """
    parser = Parser(
        description='Generate or edit a video with a Wan2.1 checkpoint.',
        epilog='What tasks share is listed once; --task NAME --help tells '
        'what it means to a task, and nothing of others. Numbers may be '
        f'-{MAX_NUMBER} to {MAX_NUMBER}, a seed any, where nothing else is '
        'said.')
    parser.add_argument(
        '--task', default=next(iter(tasks)), choices=list(tasks),
        help='task and model (default: %(default)s)')
    parser.add_argument(
        '--dry_run', action='store_true',
        help='check everything, print the plan and stop')
    shown = {only: tasks[only]} if only else tasks
    for kind in dict.fromkeys(k for row in shown.values() for k in row.kinds):
        takers = [name for name, row in shown.items() if kind in row.kinds]
        group = parser.add_argument_group(
            heading(kind), None if len(takers) == len(shown)
            else f'of --task {", ".join(takers)}')
        add_flags(
            group, kind, {**_defaults(takers[0]), **(defaults or {})})
    return parser


def parse_args(argv: Sequence[str] | None = None) -> Command:
    r"""The flags, which override those of an experiment file.

    Raises:
        ValueError: bad flags, or an experiment file that cannot be read.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if {'-h', '--help'} & set(argv):
        first = Parser(add_help=False, allow_abbrev=False)
        first.add_argument('--task', choices=list(TASKS))
        task = first.parse_known_args(argv)[0].task
        build_parser(only=task).parse_args(['--help'])
    parser = build_parser()
    given, rest = given_flags(
        parser.parse_args, argv, ('task', *setting_names(TASKS)))
    task = given.pop('task', None)
    also, files = _also(rest, given), ()
    if rest.config is not None:
        task, files = experiment_task(TASKS, task), (Path(rest.config),)
        given = {**read_experiment(rest.config, TASKS[task]), **given}
    return Command(
        task or parser.get_default('task'), given, files, rest.dry_run, also)


def _also(rest: argparse.Namespace, given: dict[str, object]) -> str | None:
    r"""What is made in place of the result, and where.

    Raises:
        ValueError: two things, or two places.
    """
    if rest.prepare is None:
        return 'preview' if rest.preview else None
    if rest.preview:
        raise ValueError('preview and prepare are two things: give one of '
                         'them (prepare writes a preview too).')
    if 'save_file' in given:
        raise ValueError('save_file is not for prepare, which writes into its '
                         'own folder.')
    given['save_file'] = str(Path(rest.prepare, FILE))
    return 'prepare'


def prepare(command: Command) -> Job:
    r"""Check a command's job.

    Raises:
        ValueError: bad input, before any weights are loaded.
    """
    return jobs.prepare(TASKS, command.task, command.given, command.reads,
                        command.also)


def prepared_together(command: Command) -> Job:
    r"""`prepare` in each of several processes, the same job in all.

    The first checks, draws what is not given, and tells what is wrong.
    """
    kept: list[Job] = []

    def first() -> dict[str, object]:
        kept.append(prepare(command))
        job = kept[0]
        return {'base_seed': job.settings[JobSettings].base_seed,
                'save_file': str(job.save_file)}

    drawn = from_first(first)
    return kept[0] if kept else prepare(replace(
        command, given={**command.given, **drawn}))


def generate(args: Command) -> None:
    r"""Check one job and run it, or print its plan.

    Raises:
        ValueError: bad input, before any weights are loaded.
    """
    execute(prepare(args), args.dry_run)


def execute(job: Job, dry_run: bool = False) -> None:
    r"""Run a checked job, or print its plan, the prompts extended."""
    if dry_run:
        text = jobs.plan(jobs.begin(job))
        if rank() == 0:
            print(text)
    else:
        jobs.execute(job)


def _own_device(argv: Sequence[str] | None) -> torch.device:
    r"""Of this process; flags that are wrong are told of by the first."""
    try:
        named = parse_args(argv).given.get('device') or ''
    except ValueError:
        named = ''
    return torch.device('cpu') if named == 'cpu' else local_device()


def main(argv: Sequence[str] | None = None) -> int:
    r"""Exit code: 0 done, 2 bad input, 1 fault, 130 interrupted,
    143 terminated.
    """

    if rank() and {'-h', '--help'} & set(sys.argv[1:] if argv is None
                                         else argv):
        return 0
    together = ExitStack()

    def check() -> tuple[Job, bool]:
        if not several():
            command = parse_args(argv)
            return prepare(command), command.dry_run
        together.enter_context(processes(_own_device(argv)))
        command = from_first(lambda: parse_args(argv))
        return prepared_together(command), command.dry_run

    code = run_program(
        'generate.py', check, lambda checked: execute(*checked),
        'nothing was written')
    if code and several():
        os._exit(code)  # the others may be waiting for this one
    together.close()
    return code


if __name__ == '__main__':
    use_utf8()
    sys.exit(main())
