import pytest
import torch

from wan.product.collage import Collage
from wan.product.relight import LEAST, MOST, relit

SIZE = 64
GENERATOR = torch.Generator().manual_seed(0)
VIDEO, BEFORE = torch.rand(
    2, 3, 2, SIZE, SIZE, generator=GENERATOR) * .4 - .9
ALPHA = torch.zeros(2, SIZE, SIZE)
ALPHA[:, 16:48, 16:48] = 1
COLLAGE, INSIDE = Collage(VIDEO, ALPHA), ALPHA.bool()


def lit(video, light):
    return (video + 1) * light - 1


def ratio(after):
    r"""[F, H, W], how many times as bright the collage becomes."""
    got = relit(COLLAGE, BEFORE, after)
    return ((got + 1) / (VIDEO + 1)).mean(0)


def test_what_an_edit_left_is_the_collage():
    torch.testing.assert_close(relit(COLLAGE, BEFORE, BEFORE), VIDEO)


@pytest.mark.parametrize('light', [.5, 1.5])
def test_light_is_taken_over(light):
    torch.testing.assert_close(
        relit(COLLAGE, BEFORE, lit(BEFORE, light)), lit(VIDEO, light))


def test_light_has_bounds():
    for light, bound in ((0., LEAST), (9., MOST)):
        got = ratio(lit(BEFORE, light).clamp(-1, 9))
        torch.testing.assert_close(got.mean(), torch.tensor(bound))


def test_the_product_and_its_ground_have_their_own_light():
    got = ratio(lit(BEFORE, torch.where(INSIDE, 1.5, .8)))
    torch.testing.assert_close(got[INSIDE], torch.tensor(1.5).expand_as(
        got[INSIDE]), atol=.02, rtol=0)
    torch.testing.assert_close(got[~INSIDE], torch.tensor(.8).expand_as(
        got[~INSIDE]), atol=.02, rtol=0)


def test_detail_is_not_taken_over():
    board = torch.arange(SIZE) % 2
    fine = ratio(lit(BEFORE, 1 + .3 * (2. * (board[:, None] ^ board) - 1)))
    assert (fine - 1).abs().max() < .1
    # A side that has become darker, against one that is brighter.
    soft = ratio(lit(BEFORE, torch.linspace(.6, 1.4, SIZE)))
    assert (soft[:, 16:48, 44] - soft[:, 16:48, 20] > .2).all()


def test_colour_is_not_taken_over():
    red = BEFORE.clone()
    red[0] += .3
    got = (relit(COLLAGE, BEFORE, red) + 1) / (VIDEO + 1)
    torch.testing.assert_close(got[0], got[2])


def test_it_stays_within_the_range():
    got = relit(COLLAGE, BEFORE, BEFORE + 2)
    assert got.max() <= 1 and got.min() >= -1
