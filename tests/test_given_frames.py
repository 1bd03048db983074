r"""Frames that are given: the size they tell, and where they are."""
import pytest
import torch

from tests import goldens
from wan.configs import WAN_CONFIGS
from wan.given_frames import frame_size, given_mask

GEOMETRY = [
    (row['in'], row['out'])
    for row in goldens.table('goldens/geometry')['rows']
    if row['kind'] == 'i2v']


@pytest.mark.parametrize('given, want', GEOMETRY)
def test_sizes_are_the_recorded_ones(given, want):
    size = frame_size((given['image_w'], given['image_h']),
                      given['max_area'], WAN_CONFIGS['i2v-14B'])
    assert size[::-1] == tuple(want['encoded_video_shape'][2:])
    assert tuple(side // 8 for side in size[::-1]) == tuple(
        want['latent_shape'][2:])


@pytest.mark.parametrize('given, frames, want', (
    ([0], 5, [[1] * 4, [0] * 4]),
    ([0, 4], 5, [[1] * 4, [0, 0, 0, 1]]),
    ([1, 6], 9, [[0] * 4, [1, 0, 0, 0], [0, 1, 0, 0]]),
    ([0], 1, [[1] * 4])))
def test_mask_counts_the_first_frame_four_times(given, frames, want):
    mask = given_mask(given, frames, (len(want), 2, 3))
    assert mask.shape == (4, len(want), 2, 3)
    for row in range(2):
        assert torch.equal(mask[:, :, row, row].T, torch.tensor(want).float())
