r"""Looking at every experiment before the model is loaded.

Each has a folder of its own. Its record is written last and holds a key of
everything the result depends on: where the key is the same, the experiment is
finished and not run again.
"""
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .. import jobs
from ..jobs.origin import changed, digest, strangers
from ..jobs.task import Job
from ..tasks import TASKS
from ..utils.checkpoint import fingerprint
from ..utils.progress import progress
from ..utils.sources import EDITING, EXTENDING, READING, source_digest
from .experiment import (
    KEY,
    MOV_CODECS,
    MOV_RESULT,
    RESULT,
    Experiment,
)
from .report import check_report

log = logging.getLogger(__name__)

# Settings that change where and how a result comes about, not the result.
# The checkpoint counts by its content.
# A template counts by what it says.
NO_MATTER = (
    'ckpt_dir', 'offload_blocks', 'offload_model', 'overwrite', 'profile',
    'ref_bank', 'save_file', 'template')


def check_all(
    task: str,
    wanted: Mapping[str, Callable[[], Mapping[str, object]]],
    out: str | Path,
    files: Sequence[str | Path] = (),
    overwrite: bool = False,
    product: bool = False,
) -> list[Experiment]:
    r"""Look at every experiment before any weight is read; write nothing.

    Args:
        task: its name, of all.
        wanted: for each experiment's name a function giving its settings.
        out: folder of all results.
        files: that settings are read from, not to be written to.
        overwrite: replace a report that is not of an earlier run.
        product: whether they are a catalogue.

    Returns:
        The experiments; the bad ones 'failed', those finished before 'done'.

    Raises:
        ValueError: `out` cannot be written to, or no experiment is good.
    """
    check_report(out, files, overwrite)
    experiments = [
        Experiment(Path(out, name), task, files=tuple(map(str, files)),
                   product=product) for name in wanted]
    with progress(len(wanted), 'check') as bar:
        for experiment, read in zip(
                experiments, wanted.values(), strict=True):
            try:
                _check(experiment, read)
            except Exception as error:
                experiment.fail(error)
            bar.update()
    _check_apart(experiments)
    bad = [e for e in experiments if e.status == 'failed']
    if len(bad) == len(experiments):
        raise ValueError('\n'.join(dict.fromkeys(e.error for e in bad)))
    for experiment in bad:
        log.error('%s failed: %s', experiment.name, experiment.error)
    return experiments


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
    row = TASKS[experiment.task]
    told = {**row.defaults(given, {}), **given}
    experiment.result = \
        MOV_RESULT if told.get('codec') in MOV_CODECS else RESULT
    path = experiment.folder / experiment.result
    outputs = (path, *row.companions(path))
    # A result of ours that is damaged is made again; anything else stays.
    damaged = changed(experiment.record) and not strangers(
        experiment.record, outputs)
    job = jobs.prepare(TASKS, experiment.task, {
        **given, 'save_file': str(path),
        'overwrite': given.get('overwrite') or bool(damaged),
    }, experiment.files)
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
    experiment.reads = tuple(
        path for paths in job.settings.paths.values() for path in paths)
    if experiment.recall(job.record.arguments[KEY]):
        log.info('Finished before: %s', experiment.name)
    elif job.row.together is not None:
        experiment.alike = job.row.together.alike(job)
        if experiment.alike is not None:
            experiment.fitting = job.row.together.fitting(job)


def _check_apart(experiments: Sequence[Experiment]) -> None:
    r"""Refuse those that read what another one writes."""
    writers = {os.path.realpath(e.folder): e for e in experiments}
    for experiment in experiments:
        for path in experiment.reads:
            folder, name = os.path.split(os.path.realpath(path))
            writer = writers.get(folder)
            if writer and name.startswith(Path(RESULT).stem):
                experiment.fail(ValueError(
                    f'{path} is a result of experiment {writer.name}; one '
                    f'that reads it needs a run of its own.'))


def _key(job: Job) -> str:
    r"""A hash of everything the result depends on."""
    facts = job.settings.flat()
    for name in NO_MATTER:
        del facts[name]
    facts |= {name: [_content(path) for path in paths]
              for name, paths in job.settings.paths.items() if name in facts}
    sources = (*EDITING, *READING, *(EXTENDING if job.work.before else ()))
    facts |= {
        'task': job.task, 'device': job.runtime.torch_device.type,
        'sources': source_digest(*sources),
        'checkpoint': fingerprint(job.checkpoint.files)}
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _content(path: str) -> str:
    r"""What is in a file, or in a folder's; a model's mere name is itself."""
    if os.path.isdir(path):
        return fingerprint(filter(Path.is_file, sorted(Path(path).rglob('*'))))
    return digest(path) if os.path.isfile(path) else path
