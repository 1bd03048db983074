r"""What a visitor is shown of a job, and the files that it has written."""
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..experiments.experiment import ERROR_LOG, measured
from ..jobs.origin import read_record


@dataclass(frozen=True)
class State:
    r"""What a visitor is shown of a job.

    Args:
        status: 'waiting', 'running', 'done', 'failed' or 'cancelled'.
        place: in the queue, 1 is the next; 0 of a job that does not wait.
        stage: that it is in, '' before it runs.
        done, total: steps of the stage.
        eta: seconds until the stage ends, None where that is not known.
        glimpse: what the video is like by now; None where nothing can be
            shown yet, and once the job has ended.
        files: of what has been written: 'result' and 'record'; of an edit
            'mask', 'comparison' and 'sheet' where they are; of a preview
            'result' is the picture; of a fault 'log'.
        notes: sentences that the user should know.
        numbers: what was changed and kept, by name.
        error: why it failed, one sentence with the place of the log.
    """
    status: str
    place: int = 0
    stage: str = ''
    done: int = 0
    total: int = 0
    eta: float | None = None
    glimpse: Image.Image | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    error: str = ''

    @property
    def ended(self) -> bool:
        return self.status not in ('waiting', 'running')


class Row(NamedTuple):
    r"""A product of a catalogue.

    Args:
        name: by which it is named here, and its folder.
        photo: its first one, None where the table names none that is here.
        prompt: the target prompt, '' where there is none yet.
        status: 'waiting', 'running', 'done' or 'failed'.
        files: as of `State`.
        error: why it failed, or what it waits for, in one sentence.
        state: of its job while it waits for the device or runs, else None.
    """
    name: str
    photo: Path | None
    prompt: str
    status: str
    files: Mapping[str, Path]
    error: str
    state: State | None


def finished(record: Path) -> State:
    r"""The state of a job whose record lies there; 'waiting' if none does."""
    told = read_record(record)
    if not told:
        return State('waiting')
    try:
        numbers, notes = measured(told['results'])
        names = [str(name) for name in told['files']]
    except (LookupError, TypeError, AttributeError, ValueError):
        return State('waiting')  # not written by this program
    files = {_part(name, record.stem): record.with_name(name)
             for name in names}
    return State('done', files={**files, 'record': record}, notes=notes,
                 numbers=numbers)


def _part(name: str, stem: str) -> str:
    r"""'mask' of NAME_mask.mp4, 'result' of NAME.mp4, else the bare stem."""
    own = Path(name).stem
    return own.removeprefix(stem).lstrip('_') or 'result' \
        if own.startswith(stem) else own


def log_of(folder: Path) -> dict[str, Path]:
    r"""The log of a fault, if there is one."""
    path = folder / ERROR_LOG
    return {'log': path} if path.is_file() else {}
