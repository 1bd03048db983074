r"""Running many experiments with one loaded model; no failure stops the rest.
"""
import logging
import time
from collections.abc import Callable, Iterator
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


def in_turn(waiting: list[Experiment]) -> Iterator[Experiment]:
    r"""Run one after another in this process, on one pipeline."""
    load = Loader()
    for done, experiment in enumerate(waiting):
        each = (time.monotonic() - load.since) / max(1, done)
        left = f' (about {span(each * (len(waiting) - done))} left)'
        log.info('Experiment %d of %d%s: %s', done + 1, len(waiting),
                 left if done else '', experiment.name)
        run_one(experiment, load)
        yield experiment


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
        path = jobs.execute(job, pipe)
        if not experiment.recall(job.record.arguments[KEY]):
            raise ValueError(
                f'{job.save_file} was taken meanwhile; the result is {path}.')
    except Exception as error:
        experiment.fail(error)
    experiment.write_log()


def span(seconds: float) -> str:
    r"""A time as one says it."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min' if minutes > 1 else f'{seconds:.0f} s'
