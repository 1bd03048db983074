r"""Template, photo and result beside each other: as a clip and as a sheet."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from wan.utils.image import to_bytes, unit_range

GAP = 8
MARGIN = 24
THUMB_WIDTH = 240
TEXT_SIZE = 15
BACKGROUND = (238, 238, 237)
TEXT = (64, 64, 66)


def side_by_side(clips: Sequence[torch.Tensor]) -> torch.Tensor:
    r"""Clips in one row, each fitted into a panel of the first clip's size.

    Args:
        clips: [3, T, H, W] in [-1, 1]; a photo is a clip of one frame. Shorter
            clips stay on their last frame.

    Returns:
        [3, T, H, W'] in [-1, 1], with T of the longest clip.
    """
    if not clips:
        raise ValueError('At least one clip is needed.')
    length = max(clip.shape[1] for clip in clips)
    height, width = clips[0].shape[2:]
    grey = torch.tensor(BACKGROUND, dtype=torch.float32).div(127.5).sub(1)
    total = len(clips) * (width + GAP) - GAP
    canvas = grey[:, None, None, None].repeat(1, length, height, total)
    for i, clip in enumerate(clips):
        clip = _fit(clip.float().cpu(), height, width)
        h, w = clip.shape[2:]
        y, x = (height - h) // 2, i * (width + GAP) + (width - w) // 2
        last = clip.shape[1]
        canvas[:, :last, y:y + h, x:x + w] = clip
        canvas[:, last:, y:y + h, x:x + w] = clip[:, -1:]
    return canvas


def contact_sheet(
    rows: Sequence[tuple[str, torch.Tensor | Image.Image]],
    columns: int = 5,
) -> Image.Image:
    r"""Frames of clips as rows of thumbnails, each row under its label.

    Args:
        rows: (label, clip [3, T, H, W] in [-1, 1] or a PIL image); of a clip
            `columns` evenly spaced frames are shown, first and last included.
            Cells have the aspect of the first clip.

    Returns:
        RGB image, ready to be saved.
    """
    shapes = [pic.shape[2:] for _, pic in rows if torch.is_tensor(pic)]
    if not shapes or columns < 1:
        raise ValueError('A contact sheet needs a clip and a column.')
    height = max(1, round(THUMB_WIDTH * shapes[0][0] / shapes[0][1]))
    thumbs = [[_thumbnail(frame, height) for frame in _frames(pic, columns)]
              for _, pic in rows]
    tall = [max(thumb.height for thumb in row) for row in thumbs]
    font = ImageFont.load_default(TEXT_SIZE)
    text_height = font.getbbox('Ag')[3] + GAP
    sheet = Image.new(
        'RGB', (2 * MARGIN + columns * (THUMB_WIDTH + GAP) - GAP,
                MARGIN + sum(tall) + len(rows) * (text_height + MARGIN)),
        BACKGROUND)
    draw, top = ImageDraw.Draw(sheet), MARGIN
    for (label, _), row, row_height in zip(rows, thumbs, tall, strict=True):
        draw.text((MARGIN, top), label, fill=TEXT, font=font)
        top += text_height
        for column, thumb in enumerate(row):
            sheet.paste(thumb, (MARGIN + column * (THUMB_WIDTH + GAP),
                                top + (row_height - thumb.height) // 2))
        top += row_height + MARGIN
    return sheet


def _fit(clip: torch.Tensor, height: int, width: int) -> torch.Tensor:
    h, w = clip.shape[2:]
    scale = min(height / h, width / w)
    size = (max(1, round(h * scale)), max(1, round(w * scale)))
    if size == (h, w):
        return clip
    frames = F.interpolate(clip.transpose(0, 1), size, mode='bicubic',
                           antialias=True, align_corners=False)
    return frames.clamp(-1, 1).transpose(0, 1)


def _frames(picture, columns: int) -> list[Image.Image]:
    r"""Evenly spaced frames; all of a clip that has no more than `columns`."""
    if isinstance(picture, Image.Image):
        return [picture]
    shown = min(columns, picture.shape[1])
    places = torch.linspace(0, picture.shape[1] - 1, shown).round().long()
    return [Image.fromarray(to_bytes(unit_range(picture[:, t], (-1, 1)), True))
            for t in places.tolist()]


def _thumbnail(picture: Image.Image, height: int) -> Image.Image:
    r"""The picture inside a cell, transparency shown as white."""
    if picture.has_transparency_data:
        picture = picture.convert('RGBA')
        white = Image.new('RGBA', picture.size, 'white')
        picture = Image.alpha_composite(white, picture)
    scale = min(THUMB_WIDTH / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)),
            max(1, round(picture.height * scale)))
    return picture.convert('RGB').resize(size, Image.Resampling.LANCZOS)
