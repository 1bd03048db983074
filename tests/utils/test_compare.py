r"""Comparison clips and contact sheets: where things lie."""
import numpy as np
import pytest
import torch
from PIL import Image

from wan.utils.compare import (
    BACKGROUND,
    GAP,
    MARGIN,
    TEXT,
    THUMB_WIDTH,
    contact_sheet,
    side_by_side,
)


def plain(value, frames=3, height=20, width=30):
    return torch.full((3, frames, height, width), float(value))


def test_panels_and_gaps():
    joined = side_by_side([plain(-1), plain(0), plain(1)])
    assert joined.shape == (3, 3, 20, 3 * 30 + 2 * GAP)
    for i, value in enumerate((-1, 0, 1)):
        x = i * (30 + GAP)
        assert (joined[..., x:x + 30] == value).all()
    gap = (joined[..., 30:30 + GAP] + 1) * 127.5
    assert torch.allclose(gap[:, 0, 0, 0], torch.tensor(BACKGROUND).float())
    assert (gap == gap[..., :1]).all()


def test_shorter_clip_stays_on_its_last_frame():
    short = plain(0, frames=2)
    short[:, 1] = 0.5
    joined = side_by_side([plain(-1, frames=5), short])
    levels = joined[0, :, 0, 30 + GAP]
    assert levels.tolist() == [0, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize('height,width,box', [
    (40, 20, (slice(0, 20), slice(10, 20))),
    (10, 60, (slice(7, 12), slice(0, 30)))])
def test_other_shapes_are_fitted_and_centred(height, width, box):
    r"""A tall and a wide photo, shown whole in a panel of 20 x 30."""
    photo = plain(1, 1, height, width)
    panel = side_by_side([plain(-1), photo])[0, 2, :, 30 + GAP:]
    inside = torch.zeros(20, 30, dtype=torch.bool)
    inside[box] = True
    assert (panel[inside] == 1).all()
    assert (panel[~inside] < 0.9).all()


def test_sheet_shows_first_and_last_frame():
    clip = torch.linspace(-1, 1, 9).view(1, 9, 1, 1).expand(3, 9, 20, 30)
    sheet = np.asarray(contact_sheet([('clip', clip)], columns=5))
    height = THUMB_WIDTH * 20 // 30
    assert sheet.shape[1] == 2 * MARGIN + 5 * (THUMB_WIDTH + GAP) - GAP
    y = sheet.shape[0] - MARGIN - height // 2
    middles = [sheet[y, MARGIN + i * (THUMB_WIDTH + GAP) + THUMB_WIDTH // 2, 0]
               for i in range(5)]
    assert middles == [0, 64, 128, 191, 255]
    assert tuple(sheet[y, 2]) == BACKGROUND
    assert tuple(sheet[-2, sheet.shape[1] // 2]) == BACKGROUND


def test_sheet_labels_are_drawn():
    r"""Dark text above the thumbnails, clear of them."""
    sheet = np.asarray(contact_sheet([('template', plain(1))]))
    head = sheet[:sheet.shape[0] - MARGIN - THUMB_WIDTH * 20 // 30]
    ink = (head < 130).all(-1)
    assert ink.sum() > 100
    assert head[ink].min() >= min(TEXT)
    assert np.nonzero(ink)[1].min() >= MARGIN
    assert np.nonzero(ink)[0].max() < head.shape[0] - 2


def test_sheet_rows_and_transparency():
    photo = Image.new('RGBA', (10, 10), (0, 0, 0, 0))
    one = contact_sheet([('template', plain(-1))], columns=3)
    two = contact_sheet([('template', plain(-1)), ('photo', photo)], columns=3)
    assert two.width == one.width and two.height > one.height + 100
    pixel = two.getpixel((MARGIN + 20, two.height - MARGIN - 20))
    assert pixel == (255, 255, 255)


def test_one_frame_is_shown_once():
    sheet = np.asarray(contact_sheet([('photo', plain(-1, frames=1))], 4))
    y = sheet.shape[0] - MARGIN - 20
    assert (sheet[y, MARGIN:MARGIN + THUMB_WIDTH] == 0).all()
    assert (sheet[y, MARGIN + THUMB_WIDTH:] == BACKGROUND).all()


def test_nothing_to_show():
    with pytest.raises(ValueError, match='clip'):
        side_by_side([])
    with pytest.raises(ValueError, match='contact sheet'):
        contact_sheet([])
