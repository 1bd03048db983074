r"""Running a job: load its pipeline, compute, save."""
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from ..pipeline import WanPipeline
from ..utils.progress import Progress
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
        FloatingPointError: the latent became non-finite.
        Cancelled: by `progress`.
    """
    if pipe is not None and pipe.runtime != job.runtime:
        raise ValueError(
            f'The pipeline is of {pipe.runtime}, the job of {job.runtime}.')
    progress = progress or Progress()
    job.record.stages = progress.seconds
    job.record.results = {'notes': list(job.work.notes)}
    for note in job.work.notes:
        log.info(note)
    if job.work.before:
        job = job.row.before(job, progress)
    return job.row.run(job, pipe or load(job, progress), progress)


def save(job: Job, result: Any, progress: Progress | None = None) -> Path:
    r"""Write what `run` gave, with its record; all files or none appear.

    Returns:
        The file; its record lies beside it.

    Raises:
        OSError: a file cannot be written; an older result stays as it was.
    """
    progress = progress or Progress()
    target = job.save_file
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.', dir=target.parent) as folder:
        with progress.stage('save'):
            job.row.save(Path(folder), job, result)
        job.record.stages |= progress.seconds
        job.record.write(Path(folder, target.name))
        _move(Path(folder), job)
    log.info('Saved %s', target)
    return target


def _move(folder: Path, job: Job) -> None:
    r"""Move all files of a result to where they belong."""
    # What this result does not have must not seem to be of it.
    for old in job.row.companions(job.save_file):
        if not Path(folder, old.name).exists():
            old.unlink(missing_ok=True)
    # The record last: where it is, the rest is.
    for file in sorted(folder.iterdir(), key=lambda f: f.suffix == '.json'):
        os.replace(file, job.save_file.with_name(file.name))


def execute(
    job: Job,
    pipe: WanPipeline | None = None,
    progress: Progress | None = None,
) -> Path:
    r"""`run` a job and `save` its result; see there."""
    progress = progress or Progress()
    return save(job, run(job, pipe, progress), progress)
