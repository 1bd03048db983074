r"""What a task would see of what it is given, before anybody waits for it."""
from collections.abc import Mapping
from html import escape
from pathlib import Path

from PIL import Image, ImageOps

from .. import jobs
from ..jobs.task import Job
from ..tasks import TASKS
from ..utils.image import to_bytes, unit_range
from .masks import small, tinted
from .shown import data, notes

# How wide the names in a plan are, and which facts are shown.
NAMES = 12
FACTS = ('video', 'sampling', 'windows', 'peak memory')


def prepared(
    task: str, settings: Mapping[str, object], folder: Path,
    ckpt_dir: str | None,
) -> Job:
    r"""The job that the settings would be; no weights are read.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    file = folder / f'look{TASKS[task].suffixes[0]}'
    return jobs.prepare(TASKS, task, {
        **settings, 'ckpt_dir': ckpt_dir, 'save_file': str(file)})


def pictures(job: Job) -> list[tuple[str, Image.Image]]:
    r"""What is left of the images once they are brought to the result's
    shape, and of a video with its mask."""
    work = job.work
    found = [
        (f'Image {i}, as the model gets it' if len(work.images) > 1
         else 'The image, as the model gets it',
         ImageOps.fit(image, work.size, Image.Resampling.LANCZOS))
        for i, image in enumerate(work.images, 1)
        if not hasattr(work.data, 'frames')]
    if hasattr(work.data, 'frames'):
        found += [('The video; green is made anew', _masked(work.data))]
        found += [(f'Image {i}, as the model gets it', _picture(one[:, 0]))
                  for i, one in enumerate(work.data.references, 1)]
    return found


def _masked(source) -> Image.Image:
    middle = source.frames.size(1) // 2
    mask = source.mask[0, middle].mul(255).byte().numpy()
    return tinted(_picture(source.frames[:, middle]), Image.fromarray(mask))


def _picture(frame) -> Image.Image:
    return Image.fromarray(to_bytes(unit_range(frame, (-1, 1)), True))


def look(job: Job) -> str:
    r"""Pictures, facts and notes as HTML."""
    figures = ''.join(
        f'<figure><img alt="{escape(name)}" src="{data(small(picture))}">'
        f'<figcaption>{escape(name)}</figcaption></figure>'
        for name, picture in pictures(job))
    width, height = job.work.size
    frames = job.work.frame_num
    what = f'{width} × {height} pixels' + (
        f', {frames} frames' if frames > 1 else '')
    plan = {line[:NAMES].strip(): line[NAMES:].strip()
            for line in jobs.plan(job).splitlines()}
    rows = ''.join(
        f'<div><dt>{name}</dt><dd>{escape(plan[name])}</dd></div>'
        for name in FACTS if name in plan)
    return (f'<div class="result"><p><b>{what}.</b></p>'
            f'<div class="figures">{figures}</div><dl>{rows}</dl>'
            f'{notes(job.work.notes)}</div>')
