r"""What belongs to a template of an edit, made once for many products."""
from dataclasses import replace
from pathlib import Path

import torch

from ..edit_config import EditConfig
from ..product.finding import AUTO
from ..pvtt import WanPVTT
from ..utils.progress import Progress
from ..utils.utils import save_image
from ..utils.video import probe
from .checkpoint import Checkpoint
from .edit import EditData
from .edit_call import common, kept_of
from .edit_files import nearest_size
from .edit_masks import read_finding
from .edit_native import find_shot
from .edit_output import OutputSettings
from .edit_preview import (
    prepare_preview,
    preview_companions,
    run_preview,
    save_preview,
)
from .edit_prompts import check_words
from .edit_settings import EXPERIMENT, EditInputs, EditOptions
from .edit_sheet import preview_picture, write_masks
from .edit_shot import long_windows, read_shot, shot_hint, told
from .settings import Settings
from .shot import Shot
from .task import Job, Task, Work
from .template_file import MASK, PICTURE, template_text
from .text import window_notes


def prepare_template(settings: Settings, checkpoint: Checkpoint) -> Work:
    r"""Read and check a template, and the settings that go with it.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    inputs, options = settings[EditInputs], settings[EditOptions]
    _check_required(settings)
    settings[EditConfig].resolved(checkpoint.config)
    check_words(inputs, checkpoint)
    info = probe(inputs.src_video)
    name = inputs.size or nearest_size(info, checkpoint.sizes)
    size = checkpoint.size(name)
    shot, notes = read_shot(settings, size, checkpoint)
    settings = long_windows(settings, shot.count, checkpoint)
    windows, unused = window_notes(settings, shot.count)
    looks = options.use_mask and shot.mask is None
    stages = ('read the template', 'encode text', 'encode')
    finding = read_finding(settings, shot_hint(settings, shot)) \
        if looks else AUTO
    return Work(
        settings, size, shot.count, inputs.source_prompt,
        stages + ('find the product',) * looks, steps=0, evaluations=0,
        windows=windows, notes=(*notes, *unused), told=told(shot, settings),
        data=EditData((), {}, shot, finding=finding))


def _check_required(settings: Settings) -> None:
    inputs, options = settings[EditInputs], settings[EditOptions]
    if inputs.template:
        raise ValueError('prepare makes a template of a video: template '
                         f'{inputs.template} is one already.')
    if not settings[OutputSettings].native:
        raise ValueError('prepare is for edits with output native; output is '
                         'model.')
    for name in ('src_video', 'source_prompt'):
        if not (getattr(inputs, name) or '').strip():
            raise ValueError(f'{name} is missing.')
    if options.use_mask and not inputs.src_mask \
            and not inputs.target_prompt.strip():
        raise ValueError(
            'prepare needs src_mask or, to find the product by, the '
            'target_prompt of any new one.')


def run_template(
    job: Job, pipe: WanPVTT, progress: Progress
) -> tuple[Shot, torch.Tensor | None]:
    r"""Find the product, and encode the prompts and the window around it,
    which are kept in the folder."""
    kept = kept_of(job, job.save_file.parent)
    shot, mask = find_shot(job, pipe, kept, progress)
    told = common(job, kept, progress)
    pipe.read(
        shot.seen(shot.view, progress), {
            'source': told['source_prompt'],
            'null': told['n_prompt'] or pipe.sample_neg_prompt},
        {}, told['seed'], told['offload_model'], progress, kept)
    return shot, mask


def save_template(
    folder: Path, job: Job, result: tuple[Shot, torch.Tensor | None],
    progress: Progress,
) -> None:
    r"""Write what the template is, its mask losslessly, and a picture."""
    shot, mask = result
    path = job.save_file
    (folder / path.name).write_text(template_text(
        _told(job, shot), EXPERIMENT, _facts(job, shot)), encoding='utf-8')
    save_image(preview_picture(job, shot, mask), folder / PICTURE)
    if mask is not None:
        write_masks(folder / MASK, shot)


def template_companions(path: Path) -> tuple[Path, Path]:
    r"""Mask and picture beside the file of a template."""
    return path.with_name(MASK), path.with_name(PICTURE)


def _told(job: Job, shot: Shot) -> dict[str, object]:
    r"""What was given of the template, and what was found."""
    flat = job.settings.flat()
    told = {name: flat[name] for name in (
        *job.settings.given, 'fps', 'start', 'end', 'crop')}
    told['src_video'] = _beside(told['src_video'], job.save_file.parent)
    told['src_mask'] = MASK
    if shot.mask is None:
        del told['src_mask']
        told['use_mask'] = False
    return told


def _beside(path: str, folder: Path) -> str:
    r"""A file's name as seen from a folder, if it lies in there."""
    file, folder = Path(path).resolve(), folder.resolve()
    return str(file.relative_to(folder) if file.is_relative_to(folder)
               else file)


def _facts(job: Job, shot: Shot) -> list[str]:
    r"""Sentences on what was found, for people."""
    times, view = shot.footage.times, shot.view
    first, last = shot.frames[0], shot.frames[-1]
    facts = [
        f'{len(shot.frames)} of {len(times)} frames are edited, '
        f'{times[first]:.2f} to {times[last]:.2f} s. The model sees '
        f'{view.box[0]}x{view.box[1]}', f'of {view.frame[0]}x'
        f'{view.frame[1]} pixels as {view.size[0]}x{view.size[1]}.']
    if job.settings[EditOptions].use_mask and shot.mask is None:
        facts += [
            'The product was not found: edits are not limited to a part of '
            'the video.',
            'With a mask as src_mask, and without use_mask, they are.']
    return facts


def with_others(row: Task) -> Task:
    r"""The row of an edit, with those of its preview and its template."""
    return replace(row, also={
        'preview': replace(
            row, prepare=prepare_preview, run=run_preview, save=save_preview,
            suffixes=('.png',), companions=preview_companions, before=None),
        'prepare': replace(
            row, prepare=prepare_template, run=run_template,
            save=save_template, suffixes=('.yaml',),
            companions=template_companions, before=None)})
