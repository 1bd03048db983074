r"""Hints: their text, the pictures they are mapped to, their cells."""
import pytest
import torch

from wan.product.hint import Hint


@pytest.mark.parametrize('name, text, want', [
    ('src_box', '10,20,30,40', Hint(10, 20, 30, 40)),
    ('src_box', ' 10.5, 20 ,30,40@12', Hint(10.5, 20, 30, 40, 12)),
    ('src_point', '7,8', Hint(7, 8)),
    ('src_point', '7,8 @ 3', Hint(7, 8, frame=3)),
])
def test_text(name, text, want):
    hint = Hint.parse(name, text)
    assert hint == want and hint.is_point == (name == 'src_point')


@pytest.mark.parametrize('name, text, told', [
    ('src_box', '10,20', 'expected x,y,width,height in pixels'),
    ('src_box', '1,2,3,4,5', 'expected x,y,width,height'),
    ('src_box', '1,2,0,4', 'width and height must be above 0'),
    ('src_box', '1,2,3,-4', 'width and height must be above 0'),
    ('src_box', '1,2,3,4@-1', 'expected'),
    ('src_point', '1,2,3', 'expected x,y in pixels'),
    ('src_point', '1,2@1.5', 'expected'),
    ('src_point', 'left', "src_point is 'left'"),
    ('src_point', '1,nan', 'expected'),
])
def test_text_of_another_form_is_refused(name, text, told):
    with pytest.raises(ValueError) as error:
        Hint.parse(name, text)
    assert told in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('hint, told', [
    (Hint(0, 0, 640, 360), None),
    (Hint(639, 359, frame=80), None),
    (Hint(600, 10, 41, 5), 'src is 600,10,41,5, which does not lie in the '
     'template of 640x360.'),
    (Hint(-1, 0), 'src is -1,0, which'),
    (Hint(640, 0), 'src is 640,0, which'),
    (Hint(1, 1, frame=81), 'src is of frame 81, but of the template 81 '
     'frames are edited, 0 to 80.'),
])
def test_it_lies_in_the_template(hint, told):
    if told is None:
        hint.check('src', (640, 360), 81)
        return
    with pytest.raises(ValueError, match=told):
        hint.check('src', (640, 360), 81)


@pytest.mark.parametrize('size, fit, want', [
    ((320, 180), 'crop', Hint(50, 60, 20, 10, 2)),
    # The sides are cut: 140 of 640 pixels on each.
    ((360, 360), 'crop', Hint(0, 120, 0, 20, 2)),
    # Bars above and below.
    ((640, 640), 'pad', Hint(100, 260, 40, 20, 2)),
])
def test_scaled(size, fit, want):
    got = Hint(100, 120, 40, 20, 2).scaled((640, 360), size, fit)
    if want.width == 0:
        assert got is None
    else:
        assert got == want


def test_a_box_is_cut_at_the_edge_of_the_part():
    box = Hint(100, 100, 100, 50)
    assert box.seen((150, 0, 100, 200), (50, 100)) == Hint(0, 50, 25, 25)
    assert box.seen((210, 0, 100, 200), (50, 100)) is None
    assert Hint(149, 3).seen((150, 0, 100, 200), (50, 100)) is None


def test_mapping_there_and_back():
    hint, window = Hint(110, 60, 30, 20, 5), (100, 50, 80, 40)
    small = hint.seen(window, (160, 80))
    back = small.seen((-200, -100, 1280, 720), (640, 360))
    assert back == hint


def test_retimed():
    assert Hint(1, 2, frame=48).retimed(24, 16, 81).frame == 32
    assert Hint(1, 2, frame=50).retimed(25, 16, 17).frame == 16
    assert Hint(1, 2).retimed(29.97, 16, 5).frame == 0


def test_around_a_mask():
    mask = torch.zeros(4, 20, 30)
    mask[1, 5:9, 10:17] = 1
    mask[2, :, :] = 1  # leaks
    mask[3, 5:9, 11:18] = 1
    assert Hint.around(mask, 0) is None
    assert Hint.around(mask, 1) == Hint(10, 5, 7, 4, 1)
    assert Hint.typical(mask).frame in (1, 3)
    assert Hint.typical(torch.zeros(3, 4, 4)) is None


def test_marks():
    grid = 10, 20, 100, 200
    want = torch.zeros(10, 20)
    want[2:4, 5:9] = 1
    assert torch.equal(Hint(50, 20, 40, 20).marks(grid), want)
    assert Hint(50, 20, 40, 20).marks(grid, .5).sum() == 8 * 4
    # A point and a tiny box mark the cell that they are in.
    for hint in (Hint(53, 27), Hint(52, 26, 1, 1), Hint(199.5, 99.5)):
        cells = hint.marks(grid)
        assert cells.sum() == 1
        assert cells[int(hint.y / 10), int(hint.x / 10)] == 1
