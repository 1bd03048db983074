r"""An edited window laid back over the template's frames."""
import pytest
import torch

from wan.product.masks import Region
from wan.product.stitch import FEATHER, laid
from wan.product.view import View, fixed

FRAME, SIZE = (160, 96), (64, 64)


def cells(count=2):
    r"""A region of the middle of a clip of 64 x 64, [T, 8, 8]."""
    found = torch.zeros(count, 8, 8)
    found[:, 3:5, 3:5] = 1
    return Region(found)


def clips(frames=5):
    template = torch.rand(3, frames, 64, 64) - .5
    return template, template.clone()


def test_outside_the_soft_edge_the_frame_is_the_templates():
    template, edited = clips()
    edited[:, :, 24:40, 24:40] = .9
    view = fixed(FRAME, SIZE, 5, (30, 10, 64, 64))
    frames = torch.rand(3, 5, 96, 160) - .5
    for i, piece in enumerate(laid(edited, template, cells(), view)):
        out = piece.over(frames[:, i])
        changed = (out != frames[:, i]).any(0).nonzero()
        low, high = changed.amin(0).tolist(), changed.amax(0).tolist()
        assert low[0] >= 10 + 24 - FEATHER and low[1] >= 30 + 24 - FEATHER
        assert high[0] < 10 + 40 + FEATHER and high[1] < 30 + 40 + FEATHER
        inside = out[:, 10 + 24:10 + 40, 30 + 24:30 + 40]
        assert torch.allclose(inside, torch.tensor(.9), atol=.02)


def test_a_larger_window_is_scaled_back():
    template, edited = clips()
    edited[:] = .5
    view = fixed(FRAME, SIZE, 5, (10, 0, 96, 96))
    pieces = list(laid(edited, edited, cells(), view))
    assert len(pieces) == 5
    assert pieces[0].rgb.shape == (3, 96, 96)
    assert pieces[0].weight[36:60, 36:60].min() > .99
    assert torch.allclose(pieces[0].rgb, torch.tensor(.5), atol=1e-3)


@pytest.mark.parametrize('corner', ((-10, -20), (120, 60)))
def test_a_window_beyond_the_frame_is_cut_off(corner):
    template, edited = clips(1)
    view = View(FRAME, (64, 64), (corner,), SIZE)
    piece = next(laid(edited, template, None, view))
    height, width = piece.weight.shape
    assert piece.left >= 0 and piece.left + width <= 160
    assert piece.top >= 0 and piece.top + height <= 96
    # The frame's own border is edited, the window's other one fades.
    assert piece.weight[0 if corner[1] < 0 else -1].max() == 1
    assert piece.weight[-1 if corner[1] < 0 else 0].max() == 0
    x, y = max(0, -corner[0]), max(0, -corner[1])
    assert torch.allclose(
        piece.rgb, edited[:, 0, y:y + height, x:x + width], atol=1e-6)


def test_the_edge_takes_the_templates_colours():
    r"""A cast of the whole edit goes, and nothing else changes."""
    template, edited = clips()
    cast = torch.tensor([.06, -.04, .02])[:, None, None, None]
    view = fixed(FRAME, SIZE, 5, (30, 10, 64, 64))
    for piece, true in zip(
            laid(edited + cast, template, cells(), view),
            laid(edited, template, cells(), view), strict=True):
        assert torch.allclose(piece.rgb, true.rgb, atol=1e-4)


def test_colours_stay_where_moving_them_does_not_help():
    template, edited = clips()
    edited[:, :, 24:40, 24:40] = .8
    # Half of the edge is too light, half too dark by as much.
    edited[:, :, :, :32] += .05
    edited[:, :, :, 32:] -= .05
    view = fixed(FRAME, SIZE, 5, (30, 10, 64, 64))
    for i, piece in enumerate(laid(edited, template, cells(), view)):
        assert (piece.rgb - edited[:, i].clamp(-1, 1)).abs().max() < .01


def test_everywhere_without_a_region():
    template, edited = clips(1)
    view = fixed((64, 64), SIZE, 1, (0, 0, 64, 64))
    piece = next(laid(edited, template, None, view))
    assert (piece.weight == 1).all() and torch.equal(piece.rgb, edited[:, 0])
