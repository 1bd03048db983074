r"""An edit that comes back as the template itself, the product replaced."""
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..footage import Patch, write_footage
from ..product.locate import doubts
from ..product.stitch import laid
from ..pvtt import Editing, PVTTResult, WanPVTT
from ..together import NOT_FOUND
from ..utils.kept import Kept
from ..utils.progress import Progress
from ..utils.utils import save_image
from .edit_call import calling, common, note
from .edit_files import companions
from .edit_output import OutputSettings
from .edit_settings import EditOptions
from .edit_sheet import (
    result_sheet,
    write_beside,
    write_masks,
)
from .shot import Shot
from .task import Job


@dataclass(frozen=True)
class NativeResult:
    r"""An edit, and where in the template it belongs.

    Args:
        edited: what the model made of the window.
        clip: the window as the model saw it.
        shot: with the window.
        mask: [F, h, w] in [0, 1], small, of the whole template: where its
            product is; None without one.
    """
    edited: PVTTResult
    clip: torch.Tensor
    shot: Shot
    mask: torch.Tensor | None


def find_shot(
    job: Job, pipe: WanPVTT | None, kept: Kept, progress: Progress
) -> tuple[Shot, torch.Tensor | None]:
    r"""The shot with its window, and the mask of the whole template.

    Args:
        pipe: looks for the product; needed where no mask is given.
    """
    shot: Shot = job.work.data.shot
    if not job.settings[EditOptions].use_mask:
        return shot.at(shot.view or shot.everything), None
    if shot.mask is not None:
        return shot, shot.coarse()
    found = pipe.locate(
        shot.seen(shot.searched, progress), finding=job.work.data.finding,
        **common(job, kept, progress))
    if found is None:
        note(job, (NOT_FOUND,))
        return shot.at(shot.view or shot.everything), None
    found = found[:len(shot.frames)]
    note(job, tuple(doubts(found)))
    shot = shot.having(shot.outside(found, shot.searched))
    mask = shot.coarse()
    return (shot if shot.view else shot.around(mask)), mask


def editing_native(
    job: Job, pipe: WanPVTT, progress: Progress, kept: Kept
) -> Editing:
    r"""Find the product, and edit the window around it."""
    shot, mask = find_shot(job, pipe, kept, progress)
    clip, view = shot.seen(shot.view, progress), shot.view
    frames = {name: view.take(image, 0 if name == 'first' else -1)
              for name, image in job.work.data.frames.items()}
    seen = None if mask is None else shot.masked(view)
    result = yield from calling(
        job, pipe, clip, seen, frames, seen is not None, kept, progress)
    if result is None:  # another process has it
        return None
    corners = view.corners if view.moves else view.corners[:1]
    job.record.results['view'] = {
        'box': view.box, 'corners': corners,
        'frames': (shot.frames[0], shot.frames[-1])}
    return NativeResult(result, clip, shot, mask)


def save_native(
    path: Path, job: Job, result: NativeResult, progress: Progress
) -> None:
    r"""Write the template with the edit in it, and what helps to judge it."""
    output, shot = job.settings[OutputSettings], result.shot
    changed = write_footage(
        path, shot.footage, _patches(result), frames=shot.written,
        codec=output.codec, crf=output.crf,
        metadata=job.record.as_metadata(), progress=progress,
        measured=job.settings[EditOptions].measure)
    results = job.record.results
    results['notes'] += [
        text for text in changed.notes if text not in results['notes']]
    results['changed'] = {
        name: value for name, value in asdict(changed).items()
        if name != 'notes' and not math.isnan(value)}
    _, comparison, sheet, mask = companions(path)
    if result.mask is not None:
        write_masks(mask, shot)
    if job.settings[EditOptions].save_comparison:
        write_beside(job, shot, path, comparison)
        save_image(result_sheet(job, shot, result.mask, path), sheet)


def _patches(result: NativeResult) -> Iterator[Patch | None]:
    r"""For each written frame what is laid over it."""
    shot, edited = result.shot, result.edited
    pieces = laid(edited.video, result.clip, edited.region, shot.view)
    written = shot.written or range(len(shot.footage.times))
    edits = set(shot.frames)
    for number in written:
        yield Patch(*next(pieces)) if number in edits else None
