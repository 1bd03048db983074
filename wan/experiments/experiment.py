r"""One experiment: what was asked for, and what became of it."""
import json
import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..utils.record import atomic_write

log = logging.getLogger(__name__)

RESULT, RECORD = 'result.mp4', 'result.json'
KEY = 'experiment_key'


@dataclass
class Experiment:
    r"""One row of the results.

    Args:
        folder: of its files.
        task: its name.
        given: its settings; None until they have been read.
        settings: what an experiment file can say, with final values.
        status: 'waiting', 'done' or 'failed'.
        error: why it failed, in one line.
        seconds: that it took, without loading the model.
        metrics: of its record.
    """
    folder: Path
    task: str
    given: Mapping[str, object] | None = None
    settings: dict[str, object] = field(default_factory=dict)
    status: str = 'waiting'
    error: str = ''
    seconds: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.folder.name

    def fail(self, error: Exception) -> None:
        r"""Note an error; all of it goes to error.log in the folder.

        An older result stays: it is still that of its own settings.
        """
        text = ' '.join(str(error).split())
        told = isinstance(error, ValueError)  # a sentence of its own
        self.error = text if told else f'{type(error).__name__}: {text}'
        self.status = 'failed'
        log.error('%s failed: %s', self.name, self.error)
        with atomic_write(self.folder / 'error.log') as temporary:
            temporary.write_text(
                ''.join(traceback.format_exception(error)), encoding='utf-8')

    def recall(self, key: str) -> bool:
        r"""Take over the result in the folder if it is the one of `key`."""
        try:
            record = json.loads(
                (self.folder / RECORD).read_text(encoding='utf-8'))
            found = (self.folder / RESULT).is_file() and \
                record['arguments'][KEY] == key
            seconds = sum(record['seconds'].values())
            metrics = dict(record['results'].get('metrics', {}))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False  # absent, or not written by this program
        if found:
            self.status, self.seconds, self.metrics = 'done', seconds, metrics
        return found
