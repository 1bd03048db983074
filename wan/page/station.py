r"""The jobs of a page: one at a time on a device, with one loaded model."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image


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
            'result' is the picture.
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
    """

    def __init__(
        self,
        root: str | Path,
        ckpt_dir: str | Path | None = None,
        device: str | None = None,
        shared: Sequence[str | Path] = (),
    ):
        raise NotImplementedError

    def new_visitor(self) -> str:
        r"""The name of a new visitor, 32 hexadecimal digits.

        It may be kept by his browser: after a restart it still names his
        files and his catalogue.
        """
        raise NotImplementedError

    def folder(self, visitor: str) -> Path:
        r"""Of all that is a visitor's, which is made.

        Raises:
            ValueError: no such name can be.
        """
        raise NotImplementedError

    def accept(self, file: str | Path, kind: str, visitor: str) -> Path:
        r"""Take an upload over, see `uploads.accept`."""
        raise NotImplementedError

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
        raise NotImplementedError

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
        raise NotImplementedError

    def state(self, ticket: str, visitor: str) -> State:
        r"""What is known of a visitor's job.

        Raises:
            ValueError: he has no such job (any more).
        """
        raise NotImplementedError

    def wait(
        self, ticket: str, visitor: str, timeout: float | None = None
    ) -> State:
        r"""The state once the job has ended, or after so many seconds."""
        raise NotImplementedError

    def tickets(self, visitor: str) -> list[str]:
        r"""A visitor's jobs, the latest last, as far as they are known."""
        raise NotImplementedError

    def cancel(self, ticket: str, visitor: str) -> None:
        r"""Take a job from the queue, or end it at its next step.

        Raises:
            ValueError: he has no such job.
        """
        raise NotImplementedError

    def close(self) -> None:
        r"""Cancel what runs, forget what waits, and free the model."""
        raise NotImplementedError
