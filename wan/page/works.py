r"""A queue before a device, and the thread that works it off."""
import logging
import secrets
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .. import jobs
from ..jobs.task import Job
from ..utils.progress import Cancelled
from .errand import Errand
from .line import Line
from .loaded import Loaded, release
from .state import State

log = logging.getLogger(__name__)

# What is remembered of jobs that have ended, and may wait of one visitor.
HISTORY, MAX_WAITING = 500, 100
# Seconds that a running job has to end when the page closes: a step, which
# is where it can. What it leaves is an edit without a result.
GRACE = 10.


class Works:
    r"""Jobs one after another on one loaded model; any thread may ask.

    Args:
        folder: where is kept what is fitted to a model.
        shown: (sentence, visitor) -> the sentence as he is to read it.
    """

    def __init__(self, folder: Path, shown: Callable[[str, str], str]):
        self._shown = shown
        self._errands: dict[str, Errand] = {}
        self._line, self._running = Line(), None
        self._changed, self.closed = threading.Condition(), False
        self.loaded = Loaded(folder)
        self._thread = threading.Thread(
            target=self._work, name='station', daemon=True)
        self._thread.start()

    def put(
        self,
        make: Callable[[], Job | Path],
        task: str,
        visitor: str,
        folder: Path,
        ahead: bool = False,
        when_ended: Callable[[State], None] | None = None,
    ) -> str:
        r"""Put a job in the queue; gives its ticket.

        Args:
            make: checks it once more when its turn has come, see `Errand`.
            folder: of its files.
            ahead: before all that are not.
            when_ended: told of its last state.

        Raises:
            ValueError: too many wait, or the page is closed.
        """
        with self._changed:
            waiting = sum(
                one.visitor == visitor for one in self._line.order())
            if waiting >= MAX_WAITING:
                raise ValueError(
                    f'{waiting} of your jobs wait already, at most '
                    f'{MAX_WAITING} may.')
            errand = self._errand(
                make, task, visitor, folder, ahead, when_ended)
            self._line.put(errand)
            self._changed.notify()
        return errand.ticket

    def _errand(self, make, task, visitor, folder, *more) -> Errand:
        errand = Errand(secrets.token_hex(16), visitor, task, make, folder,
                        *more)
        with self._changed:
            if self.closed:
                raise ValueError('The page is closed.')
            self._errands[errand.ticket] = errand
            ended = [one for one in self._errands.values()
                     if one.ended.is_set()]
            for one in ended[:max(0, len(ended) - HISTORY)]:
                del self._errands[one.ticket]
        return errand

    def state(self, ticket: str, visitor: str) -> State:
        r"""What is known of a visitor's job.

        Raises:
            ValueError: he has no such job (any more).
        """
        with self._changed:
            errand = self._of(ticket, visitor)
            return errand.state_at(next((
                place for place, one in enumerate(self._line.order(), 1)
                if one is errand), 0))

    def wait(
        self, ticket: str, visitor: str, timeout: float | None = None
    ) -> State:
        r"""The state once the job has ended, or after so many seconds."""
        self._of(ticket, visitor).ended.wait(timeout)
        return self.state(ticket, visitor)

    def tickets(self, visitor: str) -> list[str]:
        r"""A visitor's jobs, the latest last, as far as they are known."""
        with self._changed:
            return [one.ticket for one in self._errands.values()
                    if one.visitor == visitor]

    def cancel(self, ticket: str, visitor: str) -> None:
        r"""Take a job from the queue, or end it at its next step.

        Raises:
            ValueError: he has no such job.
        """
        errand = self._of(ticket, visitor)
        errand.progress.cancel()
        with self._changed:
            waited = self._line.drop(errand)
        if waited:
            errand.fail(Cancelled())

    def _of(self, ticket, visitor) -> Errand:
        errand = self._errands.get(ticket)
        if errand is None or not secrets.compare_digest(
                errand.visitor, str(visitor)):
            raise ValueError('There is no such job (any more).')
        return errand

    def close(self) -> None:
        r"""Cancel what runs, forget what waits, and free the model."""
        with self._changed:
            self.closed = True
            left = list(self._line.order())
            running = self._running
            self._line = Line()
            self._changed.notify()
        for errand in left:
            errand.fail(Cancelled())
        if running is not None:
            running.progress.cancel()
        self._thread.join(GRACE)

    # The thread that computes

    def _work(self) -> None:
        while (errand := self._next()) is not None:
            self._run(errand, self.loaded)
            errand = None
            with self._changed:
                self._running = None
            release()
        self.loaded.free()

    def _next(self) -> Errand | None:
        with self._changed:
            while not self.closed:
                self._running = self._line.take()
                if self._running is not None:
                    return self._running
                self._changed.wait()
        return None

    def at_once(
        self, make: Callable[[], Job | Path], task: str, visitor: str,
        folder: Path,
    ) -> str:
        r"""Run what needs no model, here and now; gives its ticket."""
        errand = self._errand(make, task, visitor, folder)
        self._run(errand, None)
        return errand.ticket

    def _run(self, errand: Errand, loaded: Loaded | None) -> None:
        try:
            job = errand.check()
            if isinstance(job, Path):
                return errand.end(job)
            pipe = loaded(job, errand.progress) if loaded else None
            errand.glimpse = loaded and loaded.glimpse
            path = jobs.execute(job, pipe, errand.progress)
            errand.end(path.with_suffix('.json'))
        except BaseException as error:
            errand.fail(error, partial(
                self._shown, visitor=errand.visitor))
