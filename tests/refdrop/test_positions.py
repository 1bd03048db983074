r"""Rotations of photo and video in each mode."""
import pytest
import torch

from wan.modules.model import WanModel, rotation_table
from wan.refdrop.positions import grid_positions, place, rotation_at

VIDEO, PHOTO = (3, 4, 6), (1, 4, 6)


@pytest.mark.parametrize('head_dim', [24, 32, 128])
def test_whole_positions_are_the_models(head_dim):
    model = WanModel(dim=head_dim, ffn_dim=8, num_heads=1, num_layers=0,
                     text_dim=8, freq_dim=8)
    want = rotation_table((VIDEO,), model.freqs, 72, torch.device('cpu'))
    got = rotation_at(grid_positions(VIDEO), head_dim)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=0)


def test_grid_keeps_the_queries_and_puts_the_photo_first():
    placement = place('grid', VIDEO, PHOTO, 24)
    assert placement.query is None
    torch.testing.assert_close(
        placement.key, rotation_at(grid_positions(VIDEO)[:24], 24))


def test_spatial_makes_all_frames_alike():
    placement = place('spatial', VIDEO, PHOTO, 24)
    frames = placement.query.view(3, 24, 12)
    assert torch.equal(frames[0], frames[1])
    assert torch.equal(frames[0], frames[2])
    assert torch.equal(frames[0], placement.key.view(24, 12))


def test_none_rotates_nothing():
    placement = place('none', VIDEO, PHOTO, 24)
    for rotation in (placement.query, placement.key):
        assert torch.equal(rotation, torch.ones_like(rotation))


def test_offset_is_beyond_the_video():
    placement = place('offset', VIDEO, PHOTO, 24)
    beyond = grid_positions(PHOTO) + torch.tensor([0., 4., 6.])
    assert torch.equal(placement.key, rotation_at(beyond, 24))


def test_tail_is_behind_the_video_one_after_another():
    last = rotation_at(grid_positions((5, 4, 6)), 24)
    for before in (0, 1):
        placement = place('tail', VIDEO, PHOTO, 24, before=before)
        assert placement.query is None
        first = (3 + before) * 24
        assert torch.equal(placement.key, last[:, first:first + 24])


def test_box_lays_one_box_over_the_other():
    # Frame 1 has the photo's box, two rows lower: the same rotations.
    boxes = torch.tensor([[0, 0, 4, 6], [2, 1, 4, 4], [0, 0, 2, 2]])
    photo_box = torch.tensor([0, 1, 2, 4])
    placement = place('box', VIDEO, PHOTO, 24, boxes, photo_box)
    frame = placement.query.view(3, 4, 6, 12)[1]
    photo = placement.key.view(4, 6, 12)
    torch.testing.assert_close(frame[2:, 1:4], photo[:2, 1:4])
    # Twice as large a box: its centre meets the photo's centre.
    boxes = torch.tensor([[0, 0, 4, 6]] * 3)
    placement = place(
        'box', VIDEO, PHOTO, 24, boxes, torch.tensor([1, 2, 3, 5]))
    want = rotation_at(torch.tensor([[0., .75, 1.75]]), 24).view(12)
    torch.testing.assert_close(
        placement.query.view(3, 4, 6, 12)[0, 0, 0], want)


def test_box_needs_boxes():
    with pytest.raises(ValueError, match='box'):
        place('box', VIDEO, PHOTO, 24)
