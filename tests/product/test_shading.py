r"""The light on a product, told from its colours or by an edit."""
import math

import pytest
import torch

from wan.product.shading import (
    BOUNDS,
    light_of,
    outline_places,
    relit,
    shade,
)
from wan.product.views import Views

SIZE = 80
# A collage, and an edit of it.
SIDE = 64
GENERATOR = torch.Generator().manual_seed(0)
VIDEO, BEFORE = torch.rand(
    2, 3, 2, SIDE, SIDE, generator=GENERATOR) * .4 - .9
ALPHA = torch.zeros(2, SIDE, SIDE)
ALPHA[:, 16:48, 16:48] = 1
COLLAGE, INSIDE = (VIDEO, ALPHA), ALPHA.bool()


def product(slope=0., moved=0):
    r"""Stripes of two colours, darker to one side by a factor's log."""
    alpha = torch.zeros(SIZE, SIZE)
    alpha[10:70, 20:60] = 1
    places = outline_places(alpha)
    stripes = ((torch.arange(SIZE) + moved) // 4 % 2)[None, None].float()
    colours = torch.tensor([.6, .2, .3])[:, None, None] * stripes + (
        1 - stripes) * torch.tensor([.3, .5, .6])[:, None, None]
    return (colours * (slope * places[0]).exp() * 2 - 1) * alpha, alpha


def test_places_in_an_outline():
    across, down = outline_places(product()[1])
    assert across[40, 20].item() == pytest.approx(-.975)
    assert across[40, 59].item() == pytest.approx(.975)
    assert down[10, 40].item() == pytest.approx(-1, abs=.02)
    assert down[69, 40].item() == pytest.approx(1, abs=.02)


@pytest.mark.parametrize('slope', [-.4, 0., .3])
def test_a_known_gradient_comes_back(slope):
    picture, alpha = product(slope)
    log = shade(light_of([picture], [alpha], [alpha]), alpha)
    goal = (slope * outline_places(alpha)[0])
    assert ((log - goal) * alpha).abs().max() < .06


def test_a_pattern_that_moves_is_no_light():
    pictures, alphas = zip(*(product(.3, moved) for moved in range(4)),
                           strict=True)
    light = light_of(pictures, alphas, alphas)
    log = shade(light, alphas[0])[40]
    assert log[58] - log[21] == pytest.approx(.3 * 2 * .925, abs=.05)


def test_nothing_to_see_is_no_light():
    empty = torch.zeros(SIZE, SIZE)
    picture = torch.zeros(3, SIZE, SIZE)
    assert not light_of([picture], [empty], [empty]).any()
    assert not shade(torch.ones(5), empty).isnan().any()


def test_the_templates_light_takes_the_place_of_the_photos():
    r"""And its mean brightness stays."""
    there, mask = product(-.3)
    photo, alpha = product(.3)
    views = Views.of(photo[:, None], alpha[None], [0.], torch.tensor(1e3))
    lit = views.lit(there[:, None], mask[None], mask[None], [0]).pictures[0]
    inside = alpha > 0
    assert (lit[:3] - there)[:, inside].abs().mean() < .03
    assert torch.equal(lit[3], alpha)
    assert math.isclose(((lit[:3, inside] + 1) / 2).log().mean(), (
        (photo[:, inside] + 1) / 2).log().mean(), abs_tol=.03)


def lit(video, light):
    return (video + 1) * light - 1


def ratio(after):
    r"""[F, H, W], how many times as bright the collage becomes."""
    got = relit(*COLLAGE, BEFORE, after)
    return ((got + 1) / (VIDEO + 1)).mean(0)


def test_what_an_edit_left_is_the_collage():
    torch.testing.assert_close(relit(*COLLAGE, BEFORE, BEFORE), VIDEO)


@pytest.mark.parametrize('light', [.5, 1.5])
def test_light_is_taken_over(light):
    torch.testing.assert_close(
        relit(*COLLAGE, BEFORE, lit(BEFORE, light)), lit(VIDEO, light))


def test_light_has_bounds():
    for light, bound in ((0., BOUNDS[0]), (9., BOUNDS[1])):
        got = ratio(lit(BEFORE, light).clamp(-1, 9))
        torch.testing.assert_close(got.mean(), torch.tensor(bound))


def test_the_product_and_its_ground_have_their_own_light():
    got = ratio(lit(BEFORE, torch.where(INSIDE, 1.5, .8)))
    torch.testing.assert_close(got[INSIDE], torch.tensor(1.5).expand_as(
        got[INSIDE]), atol=.02, rtol=0)
    torch.testing.assert_close(got[~INSIDE], torch.tensor(.8).expand_as(
        got[~INSIDE]), atol=.02, rtol=0)


def test_detail_is_not_taken_over():
    board = torch.arange(SIDE) % 2
    fine = ratio(lit(BEFORE, 1 + .3 * (2. * (board[:, None] ^ board) - 1)))
    assert (fine - 1).abs().max() < .1
    # A side that has become darker, against one that is brighter.
    soft = ratio(lit(BEFORE, torch.linspace(.6, 1.4, SIDE)))
    assert (soft[:, 16:48, 44] - soft[:, 16:48, 20] > .2).all()


def test_colour_is_not_taken_over():
    red = BEFORE.clone()
    red[0] += .3
    got = (relit(*COLLAGE, BEFORE, red) + 1) / (VIDEO + 1)
    torch.testing.assert_close(got[0], got[2])


def test_it_stays_within_the_range():
    got = relit(*COLLAGE, BEFORE, BEFORE + 2)
    assert got.max() <= 1 and got.min() >= -1
