r"""A job on its way through the page, as threads see it."""
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..experiments.experiment import ERROR_LOG, Experiment
from ..jobs.extension import ExtensionFailed
from ..jobs.task import Job
from ..utils.checkpoint import CheckpointError
from ..utils.progress import Cancelled, Progress, Step
from .glimpse import Glimpse
from .state import State, finished, log_of

log = logging.getLogger(__name__)

# Seconds from one preview frame to the next, at least.
EACH = 1.
# Errors whose text is a sentence of its own.
TOLD = (ValueError, CheckpointError, ExtensionFailed)


class Errand:
    r"""A job that waits, runs or has run.

    Args:
        ticket: by which it is asked for.
        visitor: whose it is.
        task: its name.
        make: checks the job, now that it is to run; gives the record instead
            where its result is there already.
        folder: of its files.
        ahead: whether it goes before others.
        when_ended: told of it once.
    """

    def __init__(
        self,
        ticket: str,
        visitor: str,
        task: str,
        make: Callable[[], Job | Path],
        folder: Path,
        ahead: bool = False,
        when_ended: Callable[[State], None] | None = None,
    ):
        self.ticket, self.visitor, self.ahead = ticket, visitor, ahead
        self.task, self.make, self.folder = task, make, folder
        self.progress = Progress(self._hear)
        self.glimpse: Glimpse | None = None
        self.ended = threading.Event()
        self._when_ended = when_ended
        self._state, self._job = State('waiting'), None
        self._shown = 0.

    def state_at(self, place: int) -> State:
        r"""Its state; any thread.

        Args:
            place: in the queue.
        """
        state, job = self._state, self._job
        if job is not None and not state.ended:
            notes = job.record.results.get('notes', job.work.notes)
            state = replace(state, notes=tuple(map(str, notes)))
        return replace(state, place=place)

    def check(self) -> Job | Path:
        r"""What `make` gives, now that its turn has come.

        Raises:
            ValueError: what is wrong with it.
            Cancelled: it was cancelled before.
        """
        self._state = replace(self._state, status='running')
        with self.progress.stage('check'):
            found = self.make()
        if isinstance(found, Job):
            self._job = found
        return found

    def end(self, record: Path) -> None:
        r"""Note that all is written, with a record."""
        found = finished(record)
        if found.status != 'done':
            found = State('failed', error=f'{record.name} cannot be read.')
        self._close(found)

    def fail(
        self,
        error: BaseException,
        shown: Callable[[str], str] = str,
    ) -> None:
        r"""Note why it has failed; of a fault a log is kept.

        Args:
            shown: how a sentence is shown to the visitor.
        """
        if isinstance(error, Cancelled):
            return self._close(State('cancelled'))
        told = Experiment(self.folder, self.task)
        told.fail(error)
        sentence = ' '.join(str(error).split())
        if not isinstance(error, TOLD):
            log.error('A job of the page failed.', exc_info=error)
            told.write_log()
            place = Path(*self.folder.parts[-2:]) / ERROR_LOG
            sentence = f'{told.error.rstrip(".")}; the log is {place}.'
        self._close(State('failed', error=shown(sentence),
                          files=log_of(self.folder)))

    def _close(self, state: State) -> None:
        r"""What it held is released, its state alone stays."""
        self._state = state
        self._job = self.glimpse = self.make = None
        when_ended, self._when_ended = self._when_ended, None
        self.ended.set()
        if when_ended is not None:
            try:
                when_ended(state)
            except Exception:  # the station goes on
                log.exception('What comes after a job has failed.')

    def _hear(self, step: Step) -> None:
        picture = None if step.latent is None else self._state.glimpse
        if step.latent is not None and self.glimpse is not None and \
                time.monotonic() - self._shown >= EACH:
            picture = self.glimpse.picture(step.latent)
            self._shown = time.monotonic()
        self._state = replace(
            self._state, stage=step.stage, done=step.done, total=step.total,
            eta=step.eta, glimpse=picture or self._state.glimpse)
