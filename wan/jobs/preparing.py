r"""How what the user gives becomes a checked job.

It may come from flags, a file or a caller; all of it is checked before a
weight is read, and what is wrong is a `ValueError` in one sentence.
"""
import difflib
import os
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from ..distributed.team import arranged
from ..runtime import Runtime
from ..utils.flags import build, names, path_names
from ..utils.program import rank
from ..utils.record import RunRecord, check_writable, default_save_path
from .checkpoint import Checkpoint, embedded_checkpoint, runs_embedded
from .settings import MAX_SEED, JobSettings, Settings
from .task import Job, Task


def prepare(
    tasks: Mapping[str, Task],
    name: str,
    given: Mapping[str, object],
    reads: Iterable[str | Path] = (),
    also: str | None = None,
) -> Job:
    r"""Check everything that can be checked before weights are loaded.

    Args:
        tasks: the table.
        name: of the task.
        given: values of settings by name, as text or as what they are; those
            left out, or None, have their defaults.
        reads: files that `given` was read from, not to be written to.
        also: what is made in place of the result, of `Task.also`; beside it
            where the name does not say otherwise.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    try:
        return _prepared(tasks, name, given, reads, also)
    except OSError as error:  # closed folders, unreadable files
        raise ValueError(
            f'Cannot use {error.filename or "a file"}: '
            f'{error.strerror or error}.') from error


def _prepared(tasks, name, given, reads, also) -> Job:
    if name not in tasks:
        raise ValueError(f'task is {name!r}, allowed: {", ".join(tasks)}.')
    row, notes = _row(tasks, name, also), []
    _check_taken(tasks, name, given)
    _check_texts(row, given)
    base = build(JobSettings, given)
    runtime = build(Runtime, given).resolved()
    folder = base.ckpt_dir
    if folder is None:
        folder = _embedded(tasks, name)
        notes.append(
            f'ckpt_dir is not given: the small embedded model in {folder} is '
            f'used.')
    checkpoint = Checkpoint.read(folder, name, row.model_types)
    mesh = arranged(runtime, checkpoint.model.num_heads)
    runtime = replace(
        runtime, ulysses_size=mesh.ulysses, ring_size=mesh.ring)
    seed = random.randint(0, MAX_SEED) if base.base_seed < 0 \
        else base.base_seed
    defaults = row.defaults(given, checkpoint.config)
    _check_texts(row, defaults)
    work = row.prepare(
        Settings.of(row.kinds, given, defaults).updated(
            runtime, replace(base, ckpt_dir=str(folder), base_seed=seed)),
        checkpoint)
    path = Path(base.save_file or default_save_path(
        name, work.size, seed, work.title,
        work.suffix or tasks[name].suffixes[0]))
    if also and path.suffix.lower() not in row.suffixes:
        path = path.with_name(f'{path.stem}_{also}{row.suffixes[0]}')
    work = replace(work, notes=(*notes, *work.notes))
    job = Job(name, row, checkpoint, work, RunRecord(
        {'task': name, **work.settings.flat()}, seed)).at(path)
    mesh.shard_length(job.tokens)
    if mesh.branch > max(1, work.evaluations):
        raise ValueError(
            f'branch_parallel is {mesh.branch}, but a step has '
            f'{work.evaluations} evaluations to spread.')
    if rank() == 0:  # which alone writes
        _check_outputs(job, [
            *reads, *checkpoint.files, *(
                file for files in work.settings.paths.values()
                for file in files)])
    return job


def setting_names(tasks: Mapping[str, Task]) -> list[str]:
    r"""The settings of all tasks."""
    kinds = dict.fromkeys(k for row in tasks.values() for k in row.kinds)
    return list(dict.fromkeys(names(*kinds)))


def _check_taken(tasks, name, given) -> None:
    r"""Check that every setting is one that the task takes."""
    taken = {n: names(*row.kinds) for n, row in tasks.items()}
    for setting in given:
        if setting in taken[name]:
            continue
        others = [n for n in tasks if setting in taken[n]]
        if others:
            raise ValueError(
                f'{setting} is not a setting of task {name}; it is one of '
                f'{", ".join(others)}.')
        near = difflib.get_close_matches(setting, taken[name], 1, 0)[0]
        raise ValueError(
            f'There is no setting {setting!r}; did you mean {near!r}?')


def _check_texts(row, given) -> None:
    r"""Check that what is no file's name is text, which has no lone bytes."""
    files = {'ckpt_dir', 'save_file', *(
        name for kind in row.kinds for name in path_names(kind))}
    for setting, value in given.items():
        if setting not in files and re.search('[\ud800-\udfff]', str(value)):
            raise ValueError(f'{setting} is not text in UTF-8.')


def _row(tasks, name, also) -> Task:
    if also is None:
        return tasks[name]
    if also not in tasks[name].also:
        able = [n for n, row in tasks.items() if also in row.also]
        raise ValueError(
            f'{also} is not for task {name}; it is for {", ".join(able)}.')
    return tasks[name].also[also]


def _embedded(tasks, name) -> Path:
    if not runs_embedded(name):
        able = ' and '.join(filter(runs_embedded, tasks))
        raise ValueError(
            f'ckpt_dir is missing: the folder of the weights (only {able} '
            f'can run with the embedded model).')
    return embedded_checkpoint()


def _check_outputs(job: Job, reads: Iterable[str | Path]) -> None:
    r"""Check that all files can be written, and that none is an input."""
    (width, height), row = job.work.size, job.row
    check_writable(job.save_file, row.suffixes,
                   3 * width * height * job.work.frame_num)
    reads = [file for read in reads for file in _files(Path(read))]
    for output in (job.record_file, *job.outputs):
        check_writable(output)
        if any(_same(output, read) for read in reads):
            raise ValueError(
                f'Cannot write {output}: it is an input; choose another '
                f'save_file.')
    job.check_replaceable()


def _files(path: Path) -> list[Path]:
    r"""A file, or those in a folder."""
    return sorted(path.iterdir()) if path.is_dir() else [path]


def _same(a: Path, b: Path) -> bool:
    r"""Whether two paths are one file, or would be."""
    if a.exists() and b.exists():
        return a.samefile(b)
    if a.name == b.name and a.parent.exists() and b.parent.exists():
        return a.parent.samefile(b.parent)
    return os.path.realpath(a) == os.path.realpath(b)  # or a loop of links
