r"""Pictures that show what an edit of a template sees, and what it made."""
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..footage import Footage
from ..product.view import View, resized
from ..utils.compare import (
    BACKGROUND,
    MARGIN,
    TEXT,
    TEXT_SIZE,
    contact_sheet,
    side_by_side,
)
from ..utils.image import as_clip, to_bytes, unit_range
from ..utils.video_writer import write_video
from .edit_settings import EditInputs
from .shot import Shot
from .task import Job

COLUMNS = 5
# Longer side of the pictures that thumbnails are made of.
SMALL = 480
WINDOW, MASK = (255, 196, 0), (0, 200, 120)


def picked(count: int) -> list[int]:
    r"""Evenly spaced places of `COLUMNS` frames, first and last included."""
    shown = min(COLUMNS, count)
    return torch.linspace(0, count - 1, shown).round().long().tolist()


def marked(
    frame: torch.Tensor, view: View, index: int, mask: torch.Tensor | None
) -> torch.Tensor:
    r"""A frame [3, h, w] with the window's outline, and the product tinted.

    Args:
        mask: [h', w'] in [0, 1] of the whole frame; None without.
    """
    height, width = frame.shape[1:]
    if mask is not None:
        tint = torch.tensor(MASK)[:, None, None] / 127.5 - 1
        share = resized(mask[None].float(), (width, height)) * 0.55
        frame = torch.lerp(frame, tint.expand_as(frame), share)
    picture = Image.fromarray(to_bytes(unit_range(frame, (-1, 1)), True))
    scale = width / view.frame[0]
    left, top = (round(scale * at) for at in view.corners[index])
    right, bottom = (round(scale * side) for side in view.box)
    ImageDraw.Draw(picture).rectangle(
        (left, top, left + right - 1, top + bottom - 1), outline=WINDOW,
        width=max(1, width // 160))
    data = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return data.view(height, width, 3).permute(2, 0, 1) / 127.5 - 1


def seen_rows(
    job: Job, shot: Shot, mask: torch.Tensor | None
) -> list[tuple[str, torch.Tensor | Image.Image]]:
    r"""Rows of a contact sheet: template with window and mask, what the model
    sees of it, and the photos, cut out."""
    places = picked(len(shot.frames))
    frames = list(shot.footage.shown([shot.frames[i] for i in places]))
    small = [resized(frame, _small(shot.footage.size)) for frame in frames]
    rows = [
        ('template, with the product that is replaced and the window that '
         'the model sees', torch.stack([
             marked(frame, shot.view, i, None if mask is None else mask[i])
             for i, frame in zip(places, small, strict=True)], 1)),
        ('what the model sees', torch.stack([
            shot.view.take(frame, i)
            for i, frame in zip(places, frames, strict=True)], 1))]
    return rows + [
        ('product photo, cut out', product.cut_out)
        for product in job.work.data.products]


def _small(size):
    shrink = min(1., SMALL / max(size))
    return tuple(max(1, round(side * shrink)) for side in size)


def preview_picture(
    job: Job, shot: Shot, mask: torch.Tensor | None
) -> Image.Image:
    r"""What an edit would see, before anybody waits for it."""
    inputs, windows = job.settings[EditInputs], job.work.windows
    times, view = shot.footage.times, shot.view
    parts = len(windows.of((shot.count - 1) // 4 + 1))
    kind = 'follows the product' if view.moves else 'stands still'
    lines = [
        f'{len(shot.frames)} frames of {len(times)}, '
        f'{times[shot.frames[0]]:.2f} to {times[shot.frames[-1]]:.2f} s, in '
        f'{parts} window{"s" * (parts > 1)} of time',
        f'template {view.frame[0]}x{view.frame[1]}, the model sees '
        f'{view.box[0]}x{view.box[1]} of it as {view.size[0]}x'
        f'{view.size[1]}; this {kind}',
        f'source prompt: {inputs.source_prompt}',
        *([f'target prompt: {inputs.target_prompt}']
          if inputs.target_prompt else []),
        *(f'note: {note}' for note in job.record.results['notes'])]
    return _with_text(contact_sheet(seen_rows(job, shot, mask), COLUMNS), lines)


def _with_text(picture: Image.Image, lines: Sequence[str]) -> Image.Image:
    r"""A picture with lines of text under it."""
    font = ImageFont.load_default(TEXT_SIZE)
    letters = (picture.width - 2 * MARGIN) // round(font.getlength('n'))
    text = '\n'.join(
        part for line in lines for part in wrap(line, letters) or [''])
    extent = ImageDraw.Draw(picture).multiline_textbbox((0, 0), text, font)
    out = Image.new(
        'RGB', (picture.width, picture.height + round(extent[3]) + MARGIN),
        BACKGROUND)
    out.paste(picture, (0, 0))
    ImageDraw.Draw(out).multiline_text(
        (MARGIN, picture.height), text, fill=TEXT, font=font)
    return out


def result_sheet(
    job: Job, shot: Shot, mask: torch.Tensor | None, result: Path
) -> Image.Image:
    r"""What was seen, and the written result under it."""
    places = _places(shot)
    numbers = [places[i] for i in picked(len(places))]
    frames = [resized(frame, _small(shot.footage.size))
              for frame in Footage.open(result).shown(numbers)]
    return contact_sheet(
        [*seen_rows(job, shot, mask), ('result', torch.stack(frames, 1))],
        COLUMNS)


def write_masks(path: Path, shot: Shot) -> None:
    r"""Write where the product is in the edited frames, losslessly: it can be
    changed and given as the mask."""
    frames = (
        frame[0].mul(255).round().numpy().astype(np.uint8)[..., None].repeat(
            3, 2) for frame in shot.mask.frames(len(shot.frames)))
    write_video(path, frames, shot.footage.fps, lossless=True)


def write_beside(job: Job, shot: Shot, result: Path, path: Path) -> None:
    r"""Write template | photos | result, the edited frames, frame by frame."""
    photos = [as_clip(product.photo) for product in job.work.data.products]
    numbers = _places(shot)
    size = _small(shot.footage.size)
    both = zip(shot.footage.shown(shot.frames),
               Footage.open(result).shown(numbers), strict=True)

    def frames():
        for pair in both:
            before, after = (resized(f, size)[:, None] for f in pair)
            row = side_by_side([before, *photos, after])
            yield to_bytes(unit_range(row[:, 0], (-1, 1)), True)

    write_video(path, frames(), shot.footage.fps)


def _places(shot: Shot) -> list[int]:
    r"""Of the edited frames among those that are written."""
    written = shot.written or range(len(shot.footage.times))
    place = {number: i for i, number in enumerate(written)}
    return [place[number] for number in shot.frames]
