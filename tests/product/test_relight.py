import torch

from wan.product.relight import relit

SIZE = 64
GENERATOR = torch.Generator().manual_seed(0)
COLLAGE = torch.rand(3, 2, SIZE, SIZE, generator=GENERATOR) - .5
BEFORE = torch.rand(3, 2, SIZE, SIZE, generator=GENERATOR) - .5
PLACE = torch.zeros(2, SIZE, SIZE)
PLACE[:, 16:48, 16:48] = 1


def test_what_an_edit_left_is_the_collage_bit_for_bit():
    assert torch.equal(relit(COLLAGE, BEFORE, BEFORE, PLACE), COLLAGE)


def test_more_light_is_taken_over():
    got = relit(COLLAGE, BEFORE, BEFORE + .25, PLACE) - COLLAGE
    inside = PLACE.bool()
    assert (got[:, inside] - .25).abs().max() < 1e-5


def test_what_changes_elsewhere_does_not_count():
    change = .3 * (1 - PLACE)
    got = relit(COLLAGE, BEFORE, BEFORE + change, PLACE)
    assert torch.equal(got, COLLAGE)


def test_detail_is_not_taken_over():
    board = torch.arange(SIZE) % 2
    board = .3 * (2. * (board[:, None] ^ board) - 1)
    fine = relit(COLLAGE, BEFORE, BEFORE + board, PLACE) - COLLAGE
    assert fine[:, PLACE.bool()].abs().max() < .03
    # A side that has become darker, against one that is as it was.
    slope = torch.linspace(-.3, .3, SIZE)
    soft = relit(COLLAGE, BEFORE, BEFORE + slope, PLACE) - COLLAGE
    assert (soft[..., 16:48, 44] - soft[..., 16:48, 20] > .1).all()


def test_it_stays_within_the_range():
    got = relit(COLLAGE, BEFORE, BEFORE + 2, PLACE)
    assert got.max() == 1 and got.min() >= -1
