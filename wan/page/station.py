r"""The jobs of a page: one at a time on a device, with one loaded model."""
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from .. import jobs
from ..experiments.experiment import MOV_CODECS
from ..jobs.task import Job
from ..tasks import TASKS
from ..utils.flags import path_names
from ..utils.record import slug
from .again import named_here
from .state import State
from .uploads import accept
from .works import Works

__all__ = ['State', 'Station']

VISITOR = re.compile('[0-9a-f]{32}')
UPLOADS = 'uploads'
# Settings that are the page's own affair.
OWN = ('save_file', 'overwrite')


class Station:
    r"""A queue before a device, and a thread that works it off.

    Every method may be called from any thread. A visitor is a name from
    `new_visitor`, which nobody guesses: who has it has what is his.

    Args:
        root: folder of everything that visitors upload and make.
        ckpt_dir: folder of the weights, for settings that name none; None is
            the embedded model.
        device: that all jobs run on; None is the best there is.
        shared: further files and folders that settings may name, such as
            examples and the weights of other models.
        free: settings that may name any file of the machine, for a page that
            only its owner sees.
    """

    def __init__(
        self,
        root: str | Path,
        ckpt_dir: str | Path | None = None,
        device: str | None = None,
        shared: Sequence[str | Path] = (),
        free: Sequence[str] = (),
    ):
        self.root = Path(root).absolute()
        self.root.mkdir(parents=True, exist_ok=True)
        self.fixed = {name: str(value) for name, value in (
            ('ckpt_dir', ckpt_dir), ('device', device)) if value is not None}
        self.shared = [*shared, *([ckpt_dir] if ckpt_dir else [])]
        self.free = tuple(free)
        self.works = Works(self.root, self.shown)

    # Visitors and their files

    def new_visitor(self) -> str:
        r"""The name of a new visitor, 32 hexadecimal digits.

        It may be kept by his browser: after a restart it still names his
        files and his catalogue.
        """
        return secrets.token_hex(16)

    def folder(self, visitor: str) -> Path:
        r"""Of all that is a visitor's, which is made.

        Raises:
            ValueError: no such name can be.
        """
        if not VISITOR.fullmatch(str(visitor)):
            raise ValueError('This visitor is not known here.')
        folder = self.root / visitor
        folder.mkdir(exist_ok=True)
        return folder

    def accept(self, file: str | Path, kind: str, visitor: str) -> Path:
        r"""Take an upload over, see `uploads.accept`."""
        return accept(file, kind, self.folder(visitor) / UPLOADS)

    def readable(self, visitor: str) -> list[str | Path]:
        r"""Folders and files of which a visitor's settings may name some."""
        return [self.folder(visitor), *self.shared]

    def shown(self, text: str, visitor: str) -> str:
        r"""A sentence with a visitor's files by their names alone."""
        own = re.escape(str(self.folder(visitor)))
        return re.sub(rf'{own}/([\w.-]+/)*', '', text)

    # Jobs

    def submit(
        self,
        task: str,
        settings: Mapping[str, object],
        visitor: str,
        also: str | None = None,
    ) -> str:
        r"""Check a job as the command line does, and put it in the queue.

        Args:
            task: a key of `TASKS`.
            settings: by name, as text or as what they are; None, '' and ()
                stand for the default. Files are those of `accept`.
            also: what is made in place of the result, of `Task.also`:
                'preview' goes to the front of the queue.

        Returns:
            A ticket.

        Raises:
            ValueError: the first thing wrong, in one sentence, in which files
                stand by their names alone.
        """
        folder = self.folder(visitor) / (
            time.strftime('%Y%m%d-%H%M%S-') + secrets.token_hex(8))
        make = partial(self.job, task, dict(settings), visitor, also, folder)
        job = make()
        if also == 'preview' and not job.work.loads:
            return self.works.at_once(make, task, visitor, folder)
        return self.works.put(
            make, task, visitor, folder, also == 'preview')

    def preview(
        self,
        task: str,
        settings: Mapping[str, object],
        visitor: str,
        timeout: float = 600.,
    ) -> Mapping[str, Path]:
        r"""The files of a preview, waited for: 'result' is the picture,
        'mask' a lossless video where a product was found.

        Raises:
            ValueError: as of `submit`; it failed, or took too long.
        """
        ticket = self.submit(task, settings, visitor, 'preview')
        found = self.wait(ticket, visitor, timeout)
        if not found.ended:
            self.cancel(ticket, visitor)
            raise ValueError(
                f'The preview has not come in {timeout:.0f} s: other jobs are '
                f'before it.')
        if found.status != 'done':
            raise ValueError(found.error or 'The preview was cancelled.')
        return found.files

    def job(
        self,
        task: str,
        settings: Mapping[str, object],
        visitor: str,
        also: str | None,
        folder: Path,
        name: str | None = None,
    ) -> Job:
        r"""A job of a visitor, checked.

        Args:
            folder: of its files.
            name: of the result in it (default: of the prompt's words).

        Raises:
            ValueError: the first thing wrong, in one sentence.
        """
        given = self.given(task, settings, visitor)
        if name is None:
            words = given.get('target_prompt') or given.get('prompt') or ''
            suffix = '.mov' if given.get('codec') in MOV_CODECS \
                else TASKS[task].suffixes[0]
            name = f'{task}_{slug(str(words))}{suffix}'
        try:
            return jobs.prepare(
                TASKS, task, {**given, 'save_file': str(folder / name)},
                also=also)
        except ValueError as error:
            raise ValueError(self.shown(str(error), visitor)) from error

    def given(
        self, task: str, settings: Mapping[str, object], visitor: str
    ) -> dict[str, object]:
        r"""Settings as they are given to a task: with those that are this
        page's, and no file but the visitor's and those for all.

        Raises:
            ValueError: another file, or a setting that is the page's affair.
        """
        if task not in TASKS:
            raise ValueError(f'task is {str(task)[:60]!r}, allowed: '
                             f'{", ".join(TASKS)}.')
        given = {name: value for name, value in settings.items()
                 if value not in (None, '', (), [])}
        for name in OWN:
            if name in given:
                raise ValueError(f'{name} is not to be given here.')
        readable = self.readable(visitor)
        for name in ('ckpt_dir', *(
                name for kind in TASKS[task].kinds
                for name in path_names(kind))):
            value = () if name in self.free else given.get(name, ())
            for one in (value,) if isinstance(value, (str, Path)) else value:
                if not named_here(name, str(one), readable):
                    raise ValueError(
                        f'{name} must be a file that was uploaded here, not '
                        f'{Path(str(one)).name!r}.')
        return {**given, **{
            name: value for name, value in self.fixed.items()
            if name == 'device' or name not in given}}

    def state(self, ticket: str, visitor: str) -> State:
        r"""What is known of a visitor's job.

        Raises:
            ValueError: he has no such job (any more).
        """
        return self.works.state(ticket, visitor)

    def wait(
        self, ticket: str, visitor: str, timeout: float | None = None
    ) -> State:
        r"""The state once the job has ended, or after so many seconds."""
        return self.works.wait(ticket, visitor, timeout)

    def tickets(self, visitor: str) -> list[str]:
        r"""A visitor's jobs, the latest last, as far as they are known."""
        return self.works.tickets(visitor)

    def cancel(self, ticket: str, visitor: str) -> None:
        r"""Take a job from the queue, or end it at its next step.

        Raises:
            ValueError: he has no such job.
        """
        self.works.cancel(ticket, visitor)

    def close(self) -> None:
        r"""Cancel what runs, forget what waits, and free the model."""
        self.works.close()
