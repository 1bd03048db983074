r"""Masks as visitors change them, and before and after as one video."""
import numpy as np
import pytest
from PIL import Image

from tests.page.edits import EXAMPLES
from wan.page import masks
from wan.page.pair import write_pair

TEMPLATE, MASK = EXAMPLES / 'template.mp4', EXAMPLES / 'template_mask.mp4'
SIZE = (128, 128)


def square(left, top, side, size=SIZE):
    picture = Image.new('L', size)
    picture.paste(255, (left, top, left + side, top + side))
    return picture


def layer(picture):
    r"""The same as an editor gives it: paint on transparency."""
    made = Image.new('RGBA', picture.size, masks.PAINT)
    made.putalpha(picture.point(lambda value: value and 90))
    return made


def same(picture, other):
    return np.array_equal(np.asarray(picture), np.asarray(other))


def test_paint_of_any_colour_is_white():
    found = masks.painted([layer(square(10, 20, 8)), layer(square(40, 20, 8))])
    assert found.getcolors() == [(128 * 128 - 128, 0), (128, 255)]


@pytest.mark.parametrize('layers', ([], [Image.new('RGBA', SIZE)]))
def test_nothing_painted_is_told(layers):
    with pytest.raises(ValueError, match='nothing is painted'):
        masks.painted(layers)


def test_a_mask_grows_and_shrinks_by_its_edge():
    assert same(masks.grown(square(20, 20, 10), 4), square(16, 16, 18))
    assert same(masks.grown(square(16, 16, 18), -4), square(20, 20, 10))
    assert same(masks.grown(square(20, 20, 10), 0), square(20, 20, 10))


def test_a_box_is_in_the_pixels_of_the_video():
    assert masks.box_around(square(10, 20, 30), (256, 512)) == (
        20, 80, 60, 120)


def test_a_painting_stands_for_all_frames(tmp_path):
    path = masks.write_painted(
        square(10, 10, 20), None, 5, TEMPLATE, tmp_path)
    assert path.suffix == '.png'
    assert same(masks.mask_at(path, 16), square(10, 10, 20))
    more = masks.write_painted(
        square(10, 10, 10), path, 5, TEMPLATE, tmp_path, erase=True)
    left = np.asarray(masks.mask_at(more, 0))
    assert left[:20, :20].sum() == 0 and left[25, 25] == 255


def test_nothing_can_be_erased_from_nothing(tmp_path):
    with pytest.raises(ValueError, match='no mask yet'):
        masks.write_painted(
            square(0, 0, 9), None, 0, TEMPLATE, tmp_path, erase=True)


def test_of_a_mask_video_one_frame_is_painted(tmp_path):
    spot = square(0, 0, 12)
    path = masks.write_painted(spot, MASK, 3, TEMPLATE, tmp_path)
    assert len(masks.footage(path).times) == len(masks.footage(MASK).times)
    for number in (2, 3, 4):
        corner = np.asarray(masks.mask_at(path, number))[:12, :12]
        assert (corner == 255).all() == (number == 3)
    assert same(masks.mask_at(path, 2), masks.mask_at(MASK, 2))


def test_all_frames_of_a_mask_video_shrink(tmp_path):
    path = masks.write_grown(MASK, -4, tmp_path)
    for number in (0, 8):
        before, after = (np.asarray(masks.mask_at(file, number)) > 0
                         for file in (MASK, path))
        assert 0 < after.sum() < before.sum() and not (after & ~before).any()


def test_what_a_mask_marks_is_green_on_the_frame():
    plain = Image.new('RGB', SIZE, (200, 0, 0))
    seen = masks.tinted(plain, square(10, 10, 20))
    assert seen.getpixel((0, 0)) == (200, 0, 0)
    assert seen.getpixel((15, 15))[1] > 80


def test_hints_are_drawn_in_their_own_frame():
    plain = Image.new('RGB', SIZE)
    hints = {'src_box': '10,20,30,40@2', 'src_point': ''}
    assert same(masks.hinted(plain, hints, 0), plain)
    assert masks.hinted(plain, hints, 2).getpixel((10, 20)) == masks.BOX
    with pytest.raises(ValueError, match='src_box is'):
        masks.hinted(plain, {'src_box': 'here'}, 0)


def test_before_stands_over_after_frame_by_frame(tmp_path):
    path = write_pair(TEMPLATE, MASK, tmp_path / 'pair.mp4')
    pair, before, after = map(masks.footage, (path, TEMPLATE, MASK))
    assert pair.size == (128, 256)
    assert len(pair.times) == len(after.times)
    both = np.asarray(masks.frame(path, 5), float)
    for half, video in ((both[:128], TEMPLATE), (both[128:], MASK)):
        own = np.asarray(masks.frame(video, 5), float)
        assert np.abs(half - own).mean() < 4
