r"""The window that the model sees of a large template."""
import pytest
import torch

from wan.product.view import (
    CONTEXT,
    around,
    fixed,
    resized,
    squeezed,
    whole,
)

FRAME, SIZE = (320, 180), (64, 64)


def masked(*boxes, size=FRAME):
    r"""A mask with a box (x, y, w, h) in each frame."""
    mask = torch.zeros(len(boxes), size[1], size[0])
    for frame, (x, y, w, h) in zip(mask, boxes, strict=True):
        frame[y:y + h, x:x + w] = 1
    return mask


def inside(view, mask):
    r"""Whether the product is in the window in each frame."""
    seen = [view.take(frame[None], i, 0.).sum() * (
        view.box[0] * view.box[1] / (view.size[0] * view.size[1]))
        for i, frame in enumerate(mask)]
    return torch.allclose(torch.stack(seen), mask.sum((1, 2)), rtol=.03)


def test_a_product_that_stays_has_a_window_that_stays():
    mask = masked(*[(100 + i, 60, 40, 30) for i in range(5)])
    view = around(mask, FRAME, SIZE)
    assert not view.moves and view.box == (56, 56)
    assert view.box[0] == pytest.approx(CONTEXT * 40, abs=1)
    assert inside(view, mask)
    # The middle of all places.
    assert view.corners[0] == (122 - 28, 75 - 28)


def test_a_product_that_crosses_the_frame_is_followed_smoothly():
    places = [min(10 + 12 * max(i - 4, 0), 270) for i in range(32)]
    mask = masked(*[(x, 70, 40, 40) for x in places])
    view = around(mask, FRAME, SIZE)
    assert view.moves and len(view.corners) == 32
    assert view.box[0] == view.box[1] < 180
    assert inside(view, mask)
    x = torch.tensor(view.corners)[:, 0].float()
    product = torch.tensor(places).float()
    # Its speed changes less abruptly than the product's, which starts at once.
    assert x.diff(n=2).abs().max() < product.diff(n=2).abs().max() / 2
    assert (x.diff() >= 0).all()
    assert all(0 <= left <= 320 - view.box[0] for left, _ in view.corners)


def test_the_window_has_the_models_aspect():
    mask = masked(*[(100, 60, 40, 30)] * 2)
    view = around(mask, FRAME, (128, 64))
    assert view.box == (84, 42)
    assert inside(view, mask)


def test_a_small_product_is_not_enlarged_without_end():
    view = around(masked((100, 60, 8, 8)), FRAME, SIZE)
    assert view.box == (32, 32)


def test_a_product_without_place_in_some_frames():
    mask = masked((100, 60, 40, 30), (0, 0, 0, 0), (110, 60, 40, 30))
    view = around(mask, FRAME, SIZE)
    assert len(view.corners) == 3 and inside(view, mask)


@pytest.mark.parametrize('box, pad', (
    ((20, 0, 178, 180), False), ((20, 0, 290, 170), True)))
def test_a_large_product_is_seen_in_the_whole_frame(box, pad):
    mask = masked(box, box)
    view = around(mask, FRAME, SIZE)
    assert view.box == ((320, 320) if pad else (180, 180))
    assert inside(view, mask)


def test_the_whole_frame():
    inner, outer = (whole(FRAME, SIZE, 3, pad) for pad in (False, True))
    assert inner.box == (180, 180) and inner.corners[0] == (70, 0)
    assert outer.box == (320, 320) and outer.corners[0] == (0, -70)
    picture = torch.ones(3, 180, 320)
    seen = outer.take(picture, 0)
    assert seen.shape == (3, 64, 64)
    assert (seen[:, 0] < -.999).all() and (seen[:, 32] > .999).all()
    assert (inner.take(picture, 2) > .999).all()


def test_a_given_window():
    view = fixed(FRAME, SIZE, 2, (10, 20, 100, 50))
    assert view.box == (100, 100) and view.corners == ((10, 0), (10, 0))
    with pytest.raises(ValueError, match='crop 300,0,40,40 is not inside'):
        fixed(FRAME, SIZE, 2, (300, 0, 40, 40))


def test_a_window_of_the_models_size_shows_the_templates_pixels():
    picture = torch.rand(3, 180, 320)
    view = fixed(FRAME, SIZE, 1, (31, 17, 64, 64))
    assert torch.equal(view.take(picture, 0), picture[:, 17:81, 31:95])


def test_a_coarser_mask_is_seen_at_the_same_place():
    fine = masked((100, 60, 40, 40))
    coarse = masked((50, 30, 20, 20), size=(160, 90))
    view = around(fine, FRAME, SIZE)
    a, b = (view.take(m, 0, 0.) for m in (fine, coarse))
    assert (a - b).abs().mean() < .03


def test_the_last_frame_is_repeated():
    view = around(masked(*[(100, 60, 40, 30)] * 3), FRAME, SIZE)
    assert view.padded(5).corners == view.corners + view.corners[-1:] * 2


def test_resizing_stays_within_the_values():
    picture = torch.rand(1, 20, 20).round()
    assert set(resized(picture, (20, 20)).unique().tolist()) == {0., 1.}
    assert resized(picture, (50, 70)).shape == (1, 70, 50)
    low, high = resized(picture, (50, 70)).aminmax()
    assert low >= 0 and high <= 1


def test_what_is_put_back_is_where_it_was_taken():
    mask = masked(*[(100 + 4 * i, 60, 40, 30) for i in range(5)])
    for view in (around(mask, FRAME, SIZE), whole(FRAME, SIZE, 5, pad=True),
                 whole(FRAME, SIZE, 5), squeezed(FRAME, SIZE, 5)):
        for size in (FRAME, (160, 90)):
            for i, frame in enumerate(mask):
                seen = view.take(frame[None], i, 0.)
                back = view.put(seen, i, size)
                assert back.shape == (1, size[1], size[0])
                wanted = resized(frame[None], size)
                assert (back - wanted).abs().mean() < .01


def test_beside_the_window_is_ground():
    view = fixed(FRAME, SIZE, 1, (30, 10, 64, 64))
    back = view.put(torch.ones(3, 64, 64), 0, FRAME, ground=-1.)
    assert (back[:, 10:74, 30:94] == 1).all()
    assert back.sum() == 3 * (2 * 64 * 64 - 320 * 180)


def test_a_squeezed_frame_is_all_of_it_and_nothing_else():
    view = squeezed(FRAME, SIZE, 2)
    assert view.share == 1 and not view.moves
    picture = torch.full((3, 180, 320), .5)
    assert (view.take(picture, 1) == .5).all()


def test_less_context_is_a_smaller_window():
    mask = masked(*[(100, 60, 40, 40)] * 2)
    sides = [around(mask, FRAME, SIZE, context).box[0]
             for context in (1.7, 2., 2.4)]
    assert sides == [68, 80, 96]
    assert around(mask, FRAME, SIZE, 1., enlarged=1.).box == (64, 64)


def test_a_large_product_that_moves_is_followed_by_the_largest_window():
    mask = masked(*[(10 + 5 * i, 10, 150, 160) for i in range(25)])
    view = around(mask, FRAME, SIZE)
    assert view.box == (180, 180) and view.moves
    assert inside(view, mask)
    # One that leaps as well, though not as smoothly.
    mask = masked(*[(10 if i < 12 else 150, 10, 150, 160) for i in range(25)])
    leap = around(mask, FRAME, SIZE)
    assert leap.box == (180, 180) and inside(leap, mask)
