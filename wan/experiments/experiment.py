r"""One experiment: what was asked for, and what became of it."""
import logging
import traceback
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..jobs.origin import changed, read_record
from ..utils.record import atomic_write, legible

log = logging.getLogger(__name__)

RESULT, RECORD, ERROR_LOG = 'result.mp4', 'result.json', 'error.log'
# The result of codecs that no mp4 holds.
MOV_RESULT, MOV_CODECS = 'result.mov', ('prores',)
KEY = 'experiment_key'
# How the file begins, by which it is known as ours; older ones begin as
# Python's own traces do.
ERROR_HEAD = 'This experiment failed.\n'
ERROR_HEADS = (ERROR_HEAD, 'Traceback (most recent call last):\n')


@dataclass
class Experiment:
    r"""One row of the results.

    Args:
        folder: of its files.
        task: its name.
        given: its settings; None until they have been read.
        settings: what an experiment file can say, with final values.
        files: that its settings may be read from.
        reads: what its settings name.
        status: 'waiting', 'done' or 'failed'.
        error: why it failed, in one line.
        cause: the same with where it happened, for error.log.
        seconds: that it took, without loading the model.
        metrics: of its record.
        notes: of its record.
        product: whether it is one of a catalogue.
        result: the file name of its video.
        alike: those that have the same can run together; None runs alone.
        fitting: how many of these fit the memory.
    """
    folder: Path
    task: str
    given: Mapping[str, object] | None = None
    settings: dict[str, object] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    status: str = 'waiting'
    error: str = ''
    cause: str = ''
    seconds: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    product: bool = False
    result: str = RESULT
    alike: Hashable = None
    fitting: int = 1

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def record(self) -> Path:
        return self.folder / RECORD

    def fail(self, error: Exception) -> None:
        r"""Note an error.

        An older result stays: it is still that of its own settings.
        """
        text = ' '.join(str(error).split())
        told = isinstance(error, ValueError)  # a sentence of its own
        self.error = text if told else f'{type(error).__name__}: {text}'
        self.cause = ''.join(traceback.format_exception(error))
        self.status = 'failed'

    def write_log(self) -> None:
        r"""Keep why it failed in error.log, or remove what is out of date."""
        path = self.folder / ERROR_LOG
        try:
            if path.exists() and not path.read_text(
                    encoding='utf-8', errors='replace').startswith(ERROR_HEADS):
                log.warning('%s is not ours and stays as it is.', path)
            elif self.error:
                with atomic_write(path) as temporary:
                    temporary.write_text(
                        legible(ERROR_HEAD + self.cause), encoding='utf-8')
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            log.warning('Cannot write %s: %s', path, error)

    def recall(self, key: str) -> bool:
        r"""Take over the result in the folder if it is the one of `key`.

        All files must be as they were written.
        """
        record = read_record(self.record)
        try:
            found = record['arguments'][KEY] == key and \
                self.result in record['files'] and not changed(self.record)
            seconds = sum(record['seconds'].values())
            metrics, notes = measured(record['results'])
        except (LookupError, TypeError, AttributeError, ValueError):
            return False  # absent, or not written by this program
        if found:
            self.status, self.seconds = 'done', seconds
            self.metrics, self.notes = metrics, notes
        return found


def measured(results: Mapping) -> tuple[dict[str, float], tuple[str, ...]]:
    r"""What a record tells of the background and of the photo, and notes."""
    told = {**results.get('metrics', {}), **results.get('changed', {})}
    if 'photo_effect' in results:
        told['photo_effect'] = results['photo_effect']
    return told, tuple(map(str, results.get('notes', ())))
