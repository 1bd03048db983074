r"""The photo pasted over the old product."""
import math
from dataclasses import replace

import pytest
import torch

from wan.product.collage import EDGE, Places, collage, fill
from wan.product.photo import Product
from wan.synth import render_clip, sample_clip, visible_mask
from wan.synth.render import render_photo
from wan.synth.scene import Motion, Pose, swap

SIZE = 64


def block(top, left, height, width):
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, top:top + height, left:left + width] = 1
    return mask


def photo():
    r"""Red, with a green product of 20 x 10 pixels in it."""
    alpha = block(5, 30, 20, 10)
    red, green = (torch.tensor(c)[:, None, None] for c in (
        (1., -1., -1.), (-1., 1., -1.)))
    return torch.lerp(
        red.expand(3, SIZE, SIZE), green, alpha)[:, None], alpha


def overlap(one, two):
    return torch.minimum(one, two).sum((1, 2)) / torch.maximum(
        one, two).sum((1, 2))


def test_places_are_centres_of_mass_and_roots_of_areas():
    centre, size = Places.of(torch.cat([
        block(10, 8, 40, 20), block(0, 0, 0, 0)]))
    assert centre[0].tolist() == [18, 30] and size.tolist() == [
        pytest.approx(math.sqrt(800)), 0]


def test_the_product_takes_the_old_ones_place():
    video = torch.full((3, 3, SIZE, SIZE), 0.2)
    mask = torch.cat([block(10, 8, 40, 20), block(12, 30, 40, 20),
                      block(0, 0, 0, 0)])
    video[:, mask > 0] = -0.7
    edited, alpha = collage(video, mask, *photo())
    assert (overlap(alpha[:2], mask[:2]) > 0.9).all()
    assert not alpha[2].any() and torch.equal(edited[:, 2], video[:, 2])
    green = torch.tensor([-1., 1., -1.])[:, None]
    assert torch.allclose(edited[:, alpha > 0.999], green, atol=1e-2)
    assert torch.allclose(edited[:, alpha == 0], torch.tensor(0.2), atol=1e-5)


@pytest.mark.parametrize('top, left', [(-10, 20), (20, -5), (50, 55)])
def test_what_hangs_over_the_edge_is_cut_off(top, left):
    mask = torch.zeros(1, 104, 104)
    mask[:, 20 + top:60 + top, 20 + left:40 + left] = 1
    mask = mask[:, 20:84, 20:84]
    edited, alpha = collage(torch.zeros(3, 1, SIZE, SIZE), mask, *photo())
    assert edited.isfinite().all() and alpha.max() > 0.99
    assert edited[1].max() > 0.9


@pytest.mark.parametrize('turn', [-1.0, 0.0, 0.7])
def test_the_product_turns_as_the_old_one(turn):
    r"""And stands as that did, whatever the tilt in its photo."""
    clip = replace(
        sample_clip(0), frames=9, motion=Motion(
            Pose(0.05, 0, 0.2, 0.5), 0.2, 0.1, turn),
        product=replace(sample_clip(0).product, shape='bottle',
                        pattern='striped', colours=('red', 'white')))
    clip = replace(clip, scene=replace(clip.scene, props=()))
    other = replace(clip.product, colours=('blue', 'yellow'), pattern='dotted')
    truth, mask = render_clip(swap(clip, other)), visible_mask(clip)
    fitted = Product(render_photo(other, Pose(0, 0, -0.3, 0.7))).fitted(
        (128, 128))
    edited, alpha = collage(render_clip(clip), mask, *fitted)
    assert (overlap(alpha, mask) > 0.9).all()
    inside = mask > 0.99
    assert (edited - truth)[:, inside].abs().mean() < 0.15


def test_a_product_that_looks_the_same_from_all_sides_is_not_turned():
    y, x = torch.meshgrid(*(torch.arange(SIZE) - 32.,) * 2, indexing='ij')
    mask = (torch.hypot(x, y) < 20).float().expand(5, -1, -1)
    video = torch.where(mask > 0, 1., -1.).expand(3, -1, -1, -1)
    picture, alpha = mask[:1] * x / 20, mask[:1]
    edited, _ = collage(
        video, mask, picture[:, None].expand(3, -1, -1, -1), alpha)
    assert torch.allclose(
        edited[:, :, 32, 20:44], (x / 20)[32, 20:44].expand(3, 5, -1),
        atol=0.05)


def test_the_surroundings_are_spread_over_the_hole():
    video = torch.linspace(-1, 1, SIZE).expand(3, 1, SIZE, SIZE).clone()
    mask, seen = block(20, 20, 24, 24), video.clone()
    seen[:, mask > 0] = 5.
    filled = fill(seen, mask)
    edge = math.ceil(EDGE * SIZE)
    near = block(20 - edge, 20 - edge, 24 + 2 * edge, 24 + 2 * edge) > 0
    assert torch.equal(filled[:, ~near], video[:, ~near])
    assert (filled - video).abs().max() < 0.35
