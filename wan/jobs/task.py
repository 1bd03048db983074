r"""What a task is, and a job of it.

Nothing here knows a task by name: a row of `wan.tasks` says all there is to
know.
"""
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..pipeline import WanPipeline
from ..runtime import Runtime
from ..utils.progress import Progress
from ..utils.record import RunRecord
from ..windows import OFF, WindowConfig
from .checkpoint import Checkpoint
from .saving import check_replaceable
from .settings import JobSettings, Settings


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
        evaluations: of the model in a step, and in each window.
        savings: by what some of them are spared, in words.
        windows: in which a long result is computed.
        batch: samples in one evaluation.
        packed: how many samples' tokens an evaluation has, where that is no
            whole number.
        lead: latent frames before the video while it is sampled.
        bank_tokens: of the reference that each block keeps.
        notes: what the user should know.
        images: paths or PIL images that the prompts are about, for a
            language model that extends them.
        texts: what such a model wrote, by name.
        told: further rows of the plan, (name, text).
        loads: whether the weights are needed.
        suffix: of a result's file that has no name; None for the task's.
        data: what was read, for the task's own `run` and `save`.
    """
    settings: Settings
    size: tuple[int, int]
    frame_num: int
    title: str
    stages: tuple[str, ...]
    steps: int
    evaluations: int
    savings: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    windows: WindowConfig = OFF
    batch: int = 1
    packed: float | None = None
    lead: int = 0
    bank_tokens: int = 0
    notes: tuple[str, ...] = ()
    images: tuple[Any, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    told: tuple[tuple[str, str], ...] = ()
    loads: bool = True
    suffix: str | None = None
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
    def tokens(self) -> int:
        r"""Of one sample in one evaluation."""
        work = self.work
        frames = min(work.frame_num, work.windows.window_frames or math.inf)
        return self.checkpoint.tokens(work.size, frames, work.lead)

    @property
    def save_file(self) -> Path:
        r"""The result; its record and its companions lie beside it."""
        return Path(self.settings[JobSettings].save_file)

    @property
    def record_file(self) -> Path:
        return self.save_file.with_suffix('.json')

    @property
    def outputs(self) -> tuple[Path, ...]:
        r"""All files that may be written, but for the record."""
        return self.save_file, *self.row.companions(self.save_file)

    def at(self, path: Path) -> 'Job':
        r"""The job with its result elsewhere."""
        self.record.arguments['save_file'] = str(path)
        base = replace(self.settings[JobSettings], save_file=str(path))
        return replace(self, work=replace(
            self.work, settings=self.settings.updated(base)))

    def check_replaceable(self) -> None:
        r"""Check that no file of another origin is in the way.

        Raises:
            ValueError: one is, and `overwrite` is not given.
        """
        if not self.settings[JobSettings].overwrite:
            check_replaceable(self.record_file, self.outputs)

    @property
    def stages(self) -> tuple[str, ...]:
        r"""Of the whole job, in order."""
        load = ('load',) if self.work.loads else ()
        return (*self.work.before, *load, *self.work.stages, 'save')


def _no_companions(path: Path) -> Sequence[Path]:
    return ()


@dataclass(frozen=True)
class Together:
    r"""How jobs run together.

    Args:
        alike: what those have in common that can; None runs alone.
        fitting: how many jobs like this one fit the memory, from 1.
        run: computes jobs that are alike; gives the number of each that has
            ended, and its result, or the exception that has ended it.
    """
    alike: Callable[[Job], Hashable]
    fitting: Callable[[Job], int]
    run: Callable[
        [Sequence[Job], WanPipeline, Sequence[Progress]],
        Iterator[tuple[int, Any]]]


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
            `job.save_file`, and whatever lies beside it; tells of the stages
            that this has.
        defaults: (what is given, the model's config) -> values of settings
            that are left out, where they are not those of the fields.
        suffixes: of a result, the usual one first.
        companions: all the files that `save` may write beside a result.
        before: does what comes before the weights are loaded, and gives the
            job to go on with; for work that names such stages.
        experiment: sections of its experiment files; None without.
        together: runs several jobs at once; None where that gains nothing.
        also: what else can be made of the same settings, by name, each a row
            of its own: a preview, for instance.
    """
    pipeline: type[WanPipeline]
    model_types: tuple[str, ...]
    settings: tuple[type, ...]
    prepare: Callable[[Settings, Checkpoint], Work]
    run: Callable[[Job, WanPipeline, Progress], Any]
    save: Callable[[Path, Job, Any, Progress], None]
    defaults: Callable[[Mapping, Mapping], Mapping[str, object]]
    suffixes: tuple[str, ...]
    companions: Callable[[Path], Sequence[Path]] = _no_companions
    before: Callable[[Job, Progress], Job] | None = None
    experiment: Mapping[str, Section] | None = None
    together: 'Together | None' = None
    also: Mapping[str, 'Task'] = field(default_factory=dict)

    @property
    def kinds(self) -> tuple[type, ...]:
        r"""All its settings, with those that every task has."""
        return (JobSettings, *self.settings, Runtime)
