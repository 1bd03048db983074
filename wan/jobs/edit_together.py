r"""Edits of several products in one template as jobs that run together."""
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..edit_config import EditConfig
from ..flowalign import BRANCHES, EDIT_METHODS
from ..pvtt import WanPVTT
from ..refdrop.config import RefConfig
from ..sparse import ABLE
from ..utils.progress import Progress
from .edit import editing
from .edit_call import kept_of
from .edit_settings import EditOptions
from .memory import Memory, free_memory
from .task import Job

# Settings that products in one template may each have of their own.
OWN = ('target_image', 'target_mask', 'target_prompt', 'target_blend',
       'ref_bank', 'overwrite', 'save_file')
# So many run together at the most, by themselves.
MOST = 8
# Of the free memory, as a prediction is not exact.
USABLE = 0.9


def alike(job: Job) -> Hashable:
    r"""Jobs that can run together have this in common; None runs alone."""
    options, ref = job.settings[EditOptions], job.settings[RefConfig]
    if job.settings[EditConfig].edit_method not in ABLE or options.reverse \
            or job.work.before:
        return None
    if job.work.data.products and any(
            BRANCHES[name].latent == 'q' for name in ref.reading):
        return None
    return tuple(sorted(
        (name, str(value)) for name, value in job.settings.flat().items()
        if name not in OWN))


def fitting(job: Job) -> int:
    r"""How many such jobs together fit the memory that the device has free,
    by prediction; 1 to `MOST`."""
    free = free_memory(job.runtime.torch_device) * USABLE
    return next(count for count in range(MOST, 0, -1)
                if count == 1 or memory(job, count).peak <= free)


def memory(job: Job, count: int) -> Memory:
    r"""Of so many edits like this one that run together."""
    work = job.work
    branches = EDIT_METHODS[job.settings[EditConfig].edit_method].branches
    source = sum(BRANCHES[name].latent == 'q' for name in branches)
    packed = None if work.packed is None \
        else source + count * (work.packed - source)
    texts = job.checkpoint.model.text_len * (count - 1) \
        if job.runtime.cache_text else 0
    return Memory(replace(job, work=replace(
        work, packed=packed, bank_tokens=count * work.bank_tokens + texts)))


def run_together(
    jobs: Sequence[Job], pipe: WanPVTT, told: Sequence[Progress]
) -> Iterator[tuple[int, Any]]:
    r"""Run jobs that are `alike`.

    What they encode of their template is encoded once.

    Args:
        told: the progress of each.

    Yields:
        The number of a job that has ended, and its result, or the exception
        that has ended it.
    """
    kept = kept_of(jobs[0], many=True)
    for number, result in pipe.together([
            editing(job, pipe, progress, kept)
            for job, progress in zip(jobs, told, strict=True)]):
        jobs[number].record.results['products_at_once'] = len(jobs)
        yield number, result
