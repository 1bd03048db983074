r"""The one model that is loaded, and goes from one job to the next."""
import gc
import logging
from pathlib import Path

import torch

from .. import jobs
from ..jobs.task import Job
from ..pipeline import Parts, WanPipeline
from ..utils.checkpoint import fingerprint
from ..utils.progress import Progress
from .glimpse import Glimpse

log = logging.getLogger(__name__)


class Loaded:
    r"""Networks that stay loaded until a job of another checkpoint, or of
    other settings of the machine, comes; tasks share them.

    Args:
        folder: where what is fitted to them is kept.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.glimpse: Glimpse | None = None
        self.count = 0  # of loadings
        self._key: tuple | None = None
        self._parts: Parts | None = None

    def __call__(self, job: Job, progress: Progress) -> WanPipeline | None:
        r"""The job's pipeline; None where it needs no weights.

        Raises:
            CheckpointError: weights that cannot be read or do not fit.
        """
        if not job.work.loads:
            return None
        files = job.checkpoint
        key = (files.folder.resolve(), fingerprint(files.files), job.runtime)
        if key != self._key:
            self.free()
            pipe = jobs.load(job, progress)
            self._parts = Parts(
                pipe.model, pipe.text_encoder, pipe.vae, pipe.clip)
            self._key, self.count = key, self.count + 1
            self.glimpse = self._fitted(job, pipe)
        return job.row.pipeline.of(
            self._parts, files.config, job.runtime)

    def _fitted(self, job: Job, pipe: WanPipeline) -> Glimpse | None:
        try:
            return Glimpse.of(job.checkpoint, pipe, self.folder)
        except Exception:  # a job is not to fail for want of its preview
            log.exception('There is no preview of what is computed.')
            return None

    def free(self) -> None:
        r"""Forget the networks, and give their memory back."""
        self._key = self._parts = self.glimpse = None
        release()


def release() -> None:
    r"""Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
