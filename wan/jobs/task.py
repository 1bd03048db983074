r"""What a task is, and how what the user gives becomes a checked job of it.

Nothing here knows a task by name: a row of `wan.tasks` says all there is to
know. What is given may come from flags, a file or a caller; all of it is
checked before a weight is read, and what is wrong is a `ValueError` in one
sentence.
"""
import difflib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..pipeline import WanPipeline
from ..runtime import Runtime
from ..utils.flags import build, names
from ..utils.progress import Progress
from ..utils.record import RunRecord, check_writable, default_save_path
from .checkpoint import Checkpoint, embedded_checkpoint, runs_embedded
from .settings import MAX_SEED, JobSettings, Settings


@dataclass(frozen=True)
class Section:
    r"""A section of a task's experiment files.

    Args:
        keys: the settings it may give.
        aliases: further names of some of them.
    """
    keys: tuple[str, ...]
    aliases: Mapping[str, str]


@dataclass(frozen=True)
class Work:
    r"""What a job is, once its inputs have been read.

    Args:
        settings: with their final values.
        size: (width, height) in pixels of the result.
        frame_num: of the result.
        title: words for the name of a file that has none.
        stages: that the run goes through once the weights are loaded.
        before: stages that come before that.
        steps: of the sampling.
        evaluations: of the model in a step.
        batch: samples in one evaluation.
        bank_tokens: of the reference that each block keeps.
        notes: what the user should know.
        data: what was read, for the task's own `run` and `save`.
    """
    settings: Settings
    size: tuple[int, int]
    frame_num: int
    title: str
    stages: tuple[str, ...]
    steps: int
    evaluations: int
    before: tuple[str, ...] = ()
    batch: int = 1
    bank_tokens: int = 0
    notes: tuple[str, ...] = ()
    data: Any = None


@dataclass(frozen=True)
class Job:
    r"""A checked job; the record is filled while it runs.

    Args:
        task: its name.
        row: all that the program knows of the task.
    """
    task: str
    row: 'Task'
    checkpoint: Checkpoint
    work: Work
    record: RunRecord

    @property
    def settings(self) -> Settings:
        r"""With their final values."""
        return self.work.settings

    @property
    def runtime(self) -> Runtime:
        r"""The machine, resolved."""
        return self.settings[Runtime]

    @property
    def save_file(self) -> Path:
        r"""The result; its record and its companions lie beside it."""
        return Path(self.settings[JobSettings].save_file)

    @property
    def stages(self) -> tuple[str, ...]:
        r"""Of the whole job, in order."""
        return (*self.work.before, 'load', *self.work.stages, 'save')


def _no_companions(path: Path) -> Sequence[Path]:
    return ()


@dataclass(frozen=True)
class Task:
    r"""One row of the table.

    Args:
        pipeline: the class that is loaded.
        model_types: of a checkpoint's config.json that it runs on.
        settings: dataclasses; their fields are flags, keys of experiment
            files and a page's controls.
        prepare: reads and checks the inputs.
        run: computes the result, in the stages that `prepare` named.
        save: writes the result into a folder, under the name of
            `job.save_file`, and whatever lies beside it.
        defaults: (what is given, the model's config) -> values of settings
            that are left out, where they are not those of the fields.
        suffixes: of a result, the usual one first.
        companions: all the files that `save` may write beside a result.
        before: does what comes before the weights are loaded, and gives the
            job to go on with; for work that names such stages.
        experiment: sections of its experiment files; None without.
    """
    pipeline: type[WanPipeline]
    model_types: tuple[str, ...]
    settings: tuple[type, ...]
    prepare: Callable[[Settings, Checkpoint], Work]
    run: Callable[[Job, WanPipeline, Progress], Any]
    save: Callable[[Path, Job, Any], None]
    defaults: Callable[[Mapping, Mapping], Mapping[str, object]]
    suffixes: tuple[str, ...]
    companions: Callable[[Path], Sequence[Path]] = _no_companions
    before: Callable[[Job, Progress], Job] | None = None
    experiment: Mapping[str, Section] | None = None

    @property
    def kinds(self) -> tuple[type, ...]:
        r"""All its settings, with those that every task has."""
        return (JobSettings, *self.settings, Runtime)


def prepare(
    tasks: Mapping[str, Task],
    name: str,
    given: Mapping[str, object],
    reads: Iterable[str | Path] = (),
) -> Job:
    r"""Check everything that can be checked before weights are loaded.

    Args:
        tasks: the table.
        name: of the task.
        given: values of settings by name, as text or as what they are; those
            left out, or None, have their defaults.
        reads: files that `given` was read from, not to be written to.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    if name not in tasks:
        raise ValueError(f'task is {name!r}, allowed: {", ".join(tasks)}.')
    row, notes = tasks[name], []
    _check_taken(tasks, name, given)
    base, runtime = build(JobSettings, given), build(Runtime, given)
    runtime.check_single()
    runtime = runtime.resolved()
    folder = base.ckpt_dir
    if folder is None:
        folder = _embedded(tasks, name)
        notes.append(
            f'ckpt_dir is not given: the small embedded model in {folder} is '
            f'used.')
    checkpoint = Checkpoint.read(folder, name, row.model_types)
    seed = random.randint(0, MAX_SEED) if base.base_seed < 0 \
        else base.base_seed
    work = row.prepare(
        Settings.of(
            row.kinds, given, row.defaults(given, checkpoint.config)
        ).updated(runtime, replace(base, ckpt_dir=str(folder), base_seed=seed)),
        checkpoint)
    path = Path(base.save_file or default_save_path(
        name, work.size, seed, work.title, row.suffixes[0]))
    _check_outputs(row, path, work, [
        *reads, *checkpoint.files,
        *(file for files in work.settings.paths.values() for file in files)])
    settings = work.settings.updated(
        replace(work.settings[JobSettings], save_file=str(path)))
    work = replace(work, settings=settings, notes=(*notes, *work.notes))
    record = RunRecord({'task': name, **settings.flat()}, seed)
    return Job(name, row, checkpoint, work, record)


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


def _embedded(tasks, name) -> Path:
    if not runs_embedded(name):
        able = ' and '.join(filter(runs_embedded, tasks))
        raise ValueError(
            f'ckpt_dir is missing: the folder of the weights (only {able} '
            f'can run with the embedded model).')
    return embedded_checkpoint()


def _check_outputs(row, path, work, reads) -> None:
    r"""Check that all files can be written, and that none is an input."""
    width, height = work.size
    check_writable(path, row.suffixes, 3 * width * height * work.frame_num)
    for output in (path, path.with_suffix('.json'), *row.companions(path)):
        check_writable(output)
        if any(_same(output, Path(read)) for read in reads):
            raise ValueError(
                f'Cannot write {output}: it is an input; choose another '
                f'save_file.')


def _same(a: Path, b: Path) -> bool:
    r"""Whether two paths are one file, or would be."""
    if a.exists() and b.exists():
        return a.samefile(b)
    return a.resolve() == b.resolve()
