r"""Many jobs with one loaded model; no failure stops the rest.

Each experiment has a folder of its own. Its record is written last and holds a
key of everything the result depends on: where the key is the same, the
experiment is finished and not run again.
"""
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .. import jobs
from ..jobs.task import Job
from ..tasks import TASKS
from ..utils.progress import progress
from ..utils.record import check_writable
from ..utils.sources import EDITING, source_digest
from .experiment import KEY, RESULT, Experiment
from .report import write_report

log = logging.getLogger(__name__)

# Settings that change where and how a result comes about, not the result.
# The checkpoint counts by its content.
NO_MATTER = ('ckpt_dir', 'offload_model', 'ref_bank', 'save_file')
TAIL_BYTES = 2**16


def check_all(
    task: str,
    wanted: Mapping[str, Callable[[], Mapping[str, object]]],
    out: str | Path,
) -> list[Experiment]:
    r"""Look at every experiment before any weight is read.

    Args:
        task: its name, of all.
        wanted: for each experiment's name a function giving its settings.
        out: folder of all results.

    Returns:
        The experiments; the bad ones 'failed', those finished before 'done'.

    Raises:
        ValueError: `out` cannot be written to, or no experiment is good.
    """
    check_writable(Path(out, 'index.html'))
    experiments, bad = [], {}
    with progress(len(wanted), 'check') as bar:
        for name, read in wanted.items():
            experiments.append(Experiment(Path(out, name), task))
            try:
                _check(experiments[-1], read)
            except (ValueError, OSError) as error:
                bad[name] = error
            bar.update()
    if len(bad) == len(experiments):
        raise ValueError('\n'.join(dict.fromkeys(map(str, bad.values()))))
    for experiment in experiments:
        if experiment.name in bad:
            experiment.fail(bad[experiment.name])
    return experiments


def run_all(experiments: list[Experiment], out: str | Path) -> None:
    r"""Run what waits, one after another on one pipeline.

    results.csv and index.html are written first, after each experiment, and
    when interrupted.

    Raises:
        CheckpointError: weights that cannot be read.
    """
    waiting = [e for e in experiments if e.status == 'waiting']
    write_report(experiments, out)
    if not waiting:
        return
    pipe = jobs.load(prepare(waiting[0]))
    start = time.monotonic()
    for done, experiment in enumerate(waiting):
        each = (time.monotonic() - start) / max(1, done)
        left = f' (about {_span(each * (len(waiting) - done))} left)'
        log.info('Experiment %d of %d%s: %s', done + 1, len(waiting),
                 left if done else '', experiment.name)
        try:
            job = prepare(experiment)
            jobs.execute(job, pipe)
            experiment.recall(job.record.arguments[KEY])
        except Exception as error:
            experiment.fail(error)
        finally:
            write_report(experiments, out)


def prepare(experiment: Experiment) -> Job:
    r"""The checked job, its key in its record. It holds the whole clip.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    given = experiment.given
    if given.get('save_file') is not None:
        raise ValueError(
            'save_file is not for experiments: their results go to the '
            'folder of all results.')
    job = jobs.prepare(TASKS, experiment.task, {
        **given, 'save_file': str(experiment.folder / RESULT)})
    if job.record.seed != int(given['base_seed']):
        raise ValueError(
            f'base_seed {given["base_seed"]} draws another seed each time; '
            f'experiments need one of 0 or more.')
    job.record.arguments[KEY] = _key(job)
    return job


def _check(
    experiment: Experiment, read: Callable[[], Mapping[str, object]]
) -> None:
    experiment.given = read()
    job = prepare(experiment)
    flat = job.settings.flat()
    experiment.settings = {
        key: flat[key] for section in job.row.experiment.values()
        for key in section.keys}
    if experiment.recall(job.record.arguments[KEY]):
        log.info('Finished before: %s', experiment.name)


def _key(job: Job) -> str:
    r"""A hash of everything the result depends on."""
    facts = job.settings.flat()
    for name in NO_MATTER:
        del facts[name]
    facts |= {name: [_digest(path) for path in paths]
              for name, paths in job.settings.paths.items() if name in facts}
    facts |= {
        'task': job.task, 'device': job.runtime.torch_device.type,
        'sources': source_digest(*EDITING),
        'checkpoint': [_sample(path) for path in job.checkpoint.files]}
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path: str | Path) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _sample(path: Path) -> tuple[str, int, str]:
    r"""Name, size and a hash of the end: gigabytes are not read for this.

    The end holds the checksums of a .pth file and the last tensor of a
    safetensors file, which no training leaves as it was.
    """
    size = path.stat().st_size
    with path.open('rb') as file:
        file.seek(max(0, size - TAIL_BYTES))
        return path.name, size, hashlib.sha256(file.read()).hexdigest()


def _span(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min' if minutes > 1 else f'{seconds:.0f} s'
