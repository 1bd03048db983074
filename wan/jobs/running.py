r"""Running a job: load its pipeline, compute, save."""
import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..distributed.groups import from_first
from ..pipeline import WanPipeline
from ..utils.progress import Progress
from . import saving
from .origin import write_record
from .task import Job

log = logging.getLogger(__name__)


def load(job: Job, progress: Progress | None = None) -> WanPipeline:
    r"""The job's pipeline, its checkpoint loaded.

    Raises:
        CheckpointError: weights that cannot be read or do not fit.
    """
    with (progress or Progress()).stage('load'):
        return job.row.pipeline(
            job.checkpoint.config, job.checkpoint.folder, runtime=job.runtime)


def begin(job: Job, progress: Progress | None = None) -> Job:
    r"""The job after what comes before its weights are loaded.

    Raises:
        ExtensionFailed: its prompts could not be extended.
    """
    if not job.work.before:
        return job
    return job.row.before(job, progress or Progress())


def run(
    job: Job,
    pipe: WanPipeline | None = None,
    progress: Progress | None = None,
) -> Any:
    r"""Compute a job's result, which the task knows how to `save`.

    Args:
        pipe: a loaded pipeline, of an earlier job of the same runtime and
            checkpoint; None loads it.
        progress: of this run only; it can cancel.

    Raises:
        ValueError: a pipeline of another runtime.
        CheckpointError: weights, or a reference bank, that do not fit.
        ExtensionFailed: its prompts could not be extended.
        FloatingPointError: the latent became non-finite.
        Cancelled: by `progress`.
    """
    if pipe is not None and pipe.runtime != job.runtime:
        raise ValueError(
            f'The pipeline is of {pipe.runtime}, the job of {job.runtime}.')
    progress = progress or Progress()
    job = _begun(job, progress)
    if pipe is None and job.work.loads:
        pipe = load(job, progress)
    return job.row.run(job, pipe, progress)


def _begun(job: Job, progress: Progress) -> Job:
    r"""The job as it is run, with an empty record."""
    job.record.stages, job.record.results = progress.seconds, {}
    for note in job.work.notes:
        log.info(note)
    job = begin(job, progress)
    job.record.results['notes'] = list(job.work.notes)
    return job


def execute_together(
    jobs: Sequence[Job], pipe: WanPipeline
) -> Iterator[tuple[int, Path | Exception]]:
    r"""Run jobs that are alike by their task, and save each result.

    Yields:
        The number of a job that has ended, and its file, or the exception
        that has ended it.
    """
    told = [Progress() for _ in jobs]
    begun = [_begun(job, progress)
             for job, progress in zip(jobs, told, strict=True)]
    for number, result in jobs[0].row.together.run(begun, pipe, told):
        if not isinstance(result, Exception):
            try:
                result = save(begun[number], result, told[number])
            except Exception as error:
                result = error
        yield number, result


def save(job: Job, result: Any, progress: Progress | None = None) -> Path:
    r"""Write what `run` gave, with its record; all files or none appear.

    A name that was taken while the job ran gets a number: nothing of another
    origin is replaced.

    Returns:
        The file; its record lies beside it.

    Raises:
        OSError: a file cannot be written; an older result stays as it was.
    """
    progress = progress or Progress()
    with _claimed(job) as job, \
            saving.switching(job.record_file, job.outputs) as folder:
        with progress.stage('save'):
            job.row.save(folder, job, result, progress)
        job.record.stages |= progress.seconds
        write_record(
            folder / job.record_file.name, job.record.as_dict())
    log.info('Saved %s', job.save_file)
    return job.save_file


@contextmanager
def _claimed(job: Job) -> Iterator[Job]:
    r"""The job under a name that it alone may write to."""
    for number in itertools.count(1):
        named = job if number == 1 else job.at(
            job.save_file.with_stem(f'{job.save_file.stem}_{number}'))
        with saving.claim(named.record_file) as mine:
            if not mine or not _may_write(named, number == 1):
                continue
            if number > 1:
                log.warning('%s was taken while the job ran; saving as %s.',
                            job.save_file, named.save_file)
            yield named
            return


def _may_write(job: Job, wanted: bool) -> bool:
    r"""Whether nothing would be lost, if the name is `wanted` by the user."""
    if not wanted or 'save_file' not in job.settings.given:
        return not any(map(os.path.lexists, (job.record_file, *job.outputs)))
    saving.recover(job.record_file)
    try:
        job.check_replaceable()
    except ValueError:
        return False
    return True


def execute(
    job: Job,
    pipe: WanPipeline | None = None,
    progress: Progress | None = None,
) -> Path:
    r"""`run` a job and `save` its result; see there.

    Of several processes all compute, and the first saves.
    """
    progress = progress or Progress()
    result = run(job, pipe, progress)
    return from_first(lambda: save(job, result, progress))
