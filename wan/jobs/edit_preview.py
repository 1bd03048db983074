r"""What an edit would see, as a picture, before anybody waits for it."""
from dataclasses import replace
from pathlib import Path

import torch

from ..pvtt import WanPVTT
from ..utils.progress import Progress
from ..utils.utils import save_image
from .checkpoint import Checkpoint
from .edit import prepare_edit
from .edit_call import kept_of
from .edit_native import find_shot
from .edit_output import OutputSettings
from .edit_sheet import preview_picture, write_masks
from .settings import Settings
from .shot import Shot
from .task import Job, Work

FINDING = ('read the template', 'encode text', 'encode', 'find the product')


def prepare_preview(settings: Settings, checkpoint: Checkpoint) -> Work:
    r"""The same as of an edit, of which only the product is looked for.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    if not settings[OutputSettings].native:
        raise ValueError('preview shows what an edit with output native sees; '
                         'output is model.')
    work = prepare_edit(settings, checkpoint)
    looks = 'find the product' in work.stages
    return replace(
        work, loads=looks, suffix=None, before=(), stages=tuple(
            name for name in work.stages if name in FINDING) if looks
        else ())


def run_preview(
    job: Job, pipe: WanPVTT | None, progress: Progress
) -> tuple[Shot, torch.Tensor | None]:
    r"""The window, and the mask of the whole template."""
    return find_shot(job, pipe, kept_of(job), progress)


def save_preview(
    folder: Path, job: Job, result: tuple[Shot, torch.Tensor | None],
    progress: Progress,
) -> None:
    r"""Write what was found as a picture, and the mask losslessly."""
    path = folder / job.save_file.name
    shot, mask = result
    save_image(preview_picture(job, shot, mask), path)
    if mask is not None:
        write_masks(preview_companions(path)[0], shot)


def preview_companions(path: Path) -> tuple[Path]:
    r"""The mask beside a preview."""
    return (path.with_name(f'{path.stem}_mask.mov'),)
