r"""Running many experiments with one loaded model; no failure stops the rest.
"""
import logging
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import closing
from pathlib import Path

from .. import jobs
from ..jobs.saving import recover
from ..jobs.task import Job
from ..pipeline import WanPipeline
from ..utils.temporary import clear
from .checking import prepare
from .experiment import KEY, Experiment
from .report import write_report

log = logging.getLogger(__name__)

ALONE = (
    'several products at once are for edits by flowalign or flowedit, not for '
    'reverse, use_prompt_extend or ref_branches all')


def run_all(
    experiments: list[Experiment],
    out: str | Path,
    run: Callable[[list[Experiment]], Iterator[Experiment]],
) -> None:
    r"""Run what waits.

    The report is written first, after each experiment, and when interrupted.

    Args:
        run: runs experiments and gives each that has ended: `in_turn`, or
            `in_workers` of some devices.

    Raises:
        CheckpointError: weights that cannot be read.
    """
    for experiment in experiments:
        clear(experiment.folder)
        if experiment.status != 'waiting':
            experiment.write_log()
    write_report(experiments, out)
    waiting = [e for e in experiments if e.status == 'waiting']
    try:
        with closing(run(waiting)) as ended:
            for experiment in ended:
                if experiment.status == 'failed':
                    log.error('%s failed: %s',
                              experiment.name, experiment.error)
                write_report(experiments, out)
    except BaseException:
        write_report(experiments, out)
        raise


def in_turn(
    waiting: list[Experiment], at_once: int | None = 1
) -> Iterator[Experiment]:
    r"""Run one after another in this process, on one pipeline.

    Args:
        at_once: how many of those that are alike run together; None is as
            many as fit the memory.
    """
    load, done = Loader(), 0
    for experiment in waiting:
        if at_once != 1 and experiment.alike is None:
            log.warning('%s runs alone: %s.', experiment.name, ALONE)
    for group in grouped(waiting, at_once):
        each = (time.monotonic() - load.since) / max(1, done)
        left = f' (about {span(each * (len(waiting) - done))} left)'
        log.info('Experiment %d of %d%s: %s', done + 1, len(waiting),
                 left if done else '', ', '.join(e.name for e in group))
        if len(group) == 1:
            run_one(group[0], load)
            yield group[0]
        else:
            yield from _run_group(group, load)
        done += len(group)


def grouped(
    waiting: list[Experiment], at_once: int | None
) -> list[list[Experiment]]:
    r"""Experiments that run together, in the order of the first of each."""
    groups: list[list[Experiment]] = []
    open_groups: dict[Hashable, list[Experiment]] = {}
    for experiment in waiting:
        group = open_groups.get(experiment.alike)
        if group is None or experiment.alike is None or \
                len(group) >= (at_once or experiment.fitting):
            group = open_groups[experiment.alike] = []
            groups.append(group)
        group.append(experiment)
    return groups


class Loader:
    r"""Gives one pipeline for all experiments, loaded for the first one.

    `since` is when it had been loaded.
    """

    def __init__(self):
        self._pipe: WanPipeline | None = None
        self.since = time.monotonic()

    def __call__(self, job: Job) -> WanPipeline:
        r"""The pipeline.

        Raises:
            CheckpointError: weights that cannot be read.
        """
        if self._pipe is None:
            self._pipe = jobs.load(job)
            self.since = time.monotonic()
        return self._pipe


def run_one(experiment: Experiment, load: Loader) -> None:
    r"""Run an experiment; what goes wrong is noted in it.

    Raises:
        CheckpointError: weights that cannot be read.
    """
    job = _ready(experiment)
    if job is not None:
        _run(experiment, job, load(job))


def _ready(experiment: Experiment) -> Job | None:
    r"""The job of an experiment; None where there is nothing to run."""
    try:
        recover(experiment.record)
        job = prepare(experiment)
        if not experiment.recall(job.record.arguments[KEY]):
            return job
        log.info('It was finished, and its saving was cut short.')
    except Exception as error:
        experiment.fail(error)
    experiment.write_log()
    return None


def _run(experiment: Experiment, job: Job, pipe: WanPipeline) -> None:
    try:
        found = jobs.execute(job, pipe)
    except Exception as error:
        found = error
    _note(experiment, job, found)


def _run_group(
    group: list[Experiment], load: Loader
) -> Iterator[Experiment]:
    r"""Run those that are alike together; gives each that has ended."""
    ready: list[tuple[Experiment, Job]] = []
    for experiment in group:
        job = _ready(experiment)
        if job is None:
            yield experiment
        else:
            ready.append((experiment, job))
    if not ready:
        return
    pipe, left = load(ready[0][1]), dict(enumerate(ready))
    try:
        for number, found in jobs.execute_together(
                [job for _, job in ready], pipe):
            experiment, job = left.pop(number)
            _note(experiment, job, found)
            yield experiment
    except Exception as error:
        for experiment, job in left.values():
            _note(experiment, job, error)
            yield experiment


def _note(
    experiment: Experiment, job: Job, found: Path | Exception
) -> None:
    r"""Take over what became of a job: its file, or why there is none."""
    if isinstance(found, Exception):
        experiment.fail(found)
    elif not experiment.recall(job.record.arguments[KEY]):
        experiment.fail(ValueError(
            f'{job.save_file} was taken meanwhile; the result is {found}.'))
    experiment.write_log()


def span(seconds: float) -> str:
    r"""A time as one says it."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min' if minutes > 1 else f'{seconds:.0f} s'
