r"""The photo pasted over the old product."""
import pytest
import torch

from wan.refdrop.collage import EDGE, collage, fill


def block(top, left, height, width, size=64):
    mask = torch.zeros(1, size, size)
    mask[:, top:top + height, left:left + width] = 1
    return mask


def photo():
    r"""Red, with a green product of 20 x 10 pixels in it."""
    alpha = block(5, 30, 20, 10)
    red, green = (torch.tensor(c)[:, None, None] for c in (
        (1., -1., -1.), (-1., 1., -1.)))
    return torch.lerp(red.expand(3, 64, 64), green, alpha)[:, None], alpha


def test_the_product_fills_the_old_ones_box():
    video = torch.full((3, 2, 64, 64), 0.2)
    mask = torch.cat([block(10, 8, 40, 20), block(12, 30, 40, 20)])
    video[:, mask > 0] = -0.7
    edited = collage(video, mask, *photo())
    green = torch.tensor([-1., 1., -1.])[:, None]
    inside = mask > 0
    assert torch.allclose(edited[:, inside], green, atol=1e-5)
    assert torch.allclose(edited[:, ~inside], torch.tensor(0.2), atol=1e-5)


@pytest.mark.parametrize('top, left', [(-10, 20), (20, -5), (50, 55)])
def test_what_hangs_over_the_edge_is_cut_off(top, left):
    mask = torch.zeros(1, 104, 104)
    mask[:, 20 + top:60 + top, 20 + left:40 + left] = 1
    mask = mask[:, 20:84, 20:84]
    edited = collage(torch.zeros(3, 1, 64, 64), mask, *photo())
    assert edited.isfinite().all() and edited[1].max() > 0.99


def test_the_surroundings_are_spread_over_the_hole():
    video = torch.linspace(-1, 1, 64).expand(3, 1, 64, 64).clone()
    mask, seen = block(20, 20, 24, 24), video.clone()
    seen[:, mask > 0] = 5.
    filled = fill(seen, mask)
    near = block(20 - EDGE, 20 - EDGE, 24 + 2 * EDGE, 24 + 2 * EDGE) > 0
    assert torch.equal(filled[:, ~near], video[:, ~near])
    assert (filled - video).abs().max() < 0.35
