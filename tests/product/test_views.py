r"""Several photos of a product, each of another side."""
import math

import pytest
import torch

from wan.edit_config import EditConfig
from wan.product.collage import collage, old_product
from wan.product.turning import turned_views
from wan.product.views import Views

SIZE = 80
ALPHA = torch.zeros(SIZE, SIZE)
ALPHA[10:70, 20:60] = 1


def skin(azimuth):
    r"""Colours around a can, in [-1, 1]; 0 is its front."""
    return torch.stack([azimuth.sin(), azimuth.cos(), (2 * azimuth).sin()])


def seen(yaw):
    r"""[4, h, w]: the can, its front turned to the right."""
    across = ((torch.arange(SIZE) + .5 - 40) / 20).clamp(-1, 1)
    colours = skin(across.asin() - yaw)[:, None].expand(3, SIZE, SIZE)
    return torch.cat([colours * ALPHA, ALPHA[None]])


def photos(angles):
    # The camera goes to the right as the product turns to the left.
    return torch.stack([seen(-angle) for angle in angles])


INNER = (slice(None, 3), slice(12, 68), slice(23, 57))


@pytest.mark.parametrize('yaw', [0., .5, -1.2, 2.5])
def test_a_cans_skin_comes_back_from_four_sides(yaw):
    angles = torch.arange(4) * math.pi / 2
    found = turned_views(photos(angles.tolist()), angles + yaw)
    assert (found - seen(yaw))[INNER].abs().max() < .12
    one = turned_views(photos([0.]), torch.tensor([yaw]))
    assert abs(yaw) < .1 or (one - seen(yaw))[INNER].abs().max() > .3


def test_a_view_of_the_same_side_is_that_view():
    angles = torch.tensor([0., math.pi / 2])
    views = photos(angles.tolist())
    # To the left by a quarter: the right side shows, that of the camera at
    # the right.
    found = turned_views(views, angles - math.pi / 2, 1)
    assert (found - views[1])[INNER].abs().max() < .1
    assert torch.equal(found[3], ALPHA)


def test_the_nearest_view():
    angles = [0., math.pi / 2, math.pi]
    stack = photos(angles)
    views = Views.of(
        stack[:, :3].transpose(0, 1), stack[:, 3], angles, torch.tensor(1e3))
    assert [views.nearest(yaw) for yaw in (0., -1.4, 3., .9)] == [0, 1, 2, 0]


def test_a_frame_turned_by_a_quarter_shows_the_side_view():
    r"""The rate says which frame shows which, counted from the anchor."""
    frames = 5
    video = torch.full((3, frames, SIZE, SIZE), .1)
    mask = ALPHA.expand(frames, -1, -1)
    video[:, mask > 0] = .5
    old = old_product(video, mask, 'turning')._replace(
        leans=torch.zeros(frames), rate=-math.pi / 4)
    angles = [0., math.pi / 2]
    stack = photos(angles)
    stack[0, :3], stack[1, :3] = .6 * ALPHA, -.6 * ALPHA
    done = collage(video, mask, stack[:, :3].transpose(0, 1), stack[:, 3],
                   'turning', 1, old, angles).video
    front, side = done[:, 1, 40, 40], done[:, 3, 40, 40]
    assert torch.allclose(front, torch.tensor(.6), atol=.06)
    assert torch.allclose(side, torch.tensor(-.6), atol=.06)
    flat = collage(video, mask, stack[:, :3].transpose(0, 1), stack[:, 3],
                   'flat', 1, None, angles).video
    assert torch.allclose(flat[:, :, 40, 40], torch.tensor(.6), atol=.06)


def test_one_angle_for_each_view():
    stack = photos([0., 1.])
    with pytest.raises(ValueError, match='1 angles for 2 photos'):
        collage(torch.zeros(3, 1, SIZE, SIZE), ALPHA[None],
                stack[:, :3].transpose(0, 1), stack[:, 3])
    edit = EditConfig(view_angles=(0., 90.), view_frame=4)
    with pytest.raises(ValueError, match='2 angles for 3 photos'):
        edit.check_views(3, 5)
    with pytest.raises(ValueError, match='view_frame is 4, but 4 frames are'):
        edit.check_views(2, 4)
    edit.check_views(2, 5)
