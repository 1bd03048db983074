r"""Sizes for Qwen's vision models, at the recorded numbers."""
import builtins
import json

import pytest

from tests.goldens import GOLDENS
from wan.utils import qwen_vl_utils
from wan.utils.qwen_vl_utils import smart_nframes, smart_resize

ROWS = json.loads((GOLDENS / 'qwen_vl.json').read_text())['rows']


@pytest.mark.parametrize('row', ROWS)
def test_as_recorded(row):
    function = getattr(qwen_vl_utils, row['function'])
    wanted = row['result']
    if isinstance(wanted, dict):
        with pytest.raises(getattr(builtins, wanted['raises'])):
            function(*row['args'], **row['kwargs'])
    else:
        found = function(*row['args'], **row['kwargs'])
        assert found == (
            tuple(wanted) if isinstance(wanted, list) else wanted)


@pytest.mark.parametrize('size', ((37, 4000), (3000, 2000), (60, 50)))
def test_a_size_is_within_its_bounds(size):
    height, width = smart_resize(
        *size, min_pixels=256 * 28**2, max_pixels=1280 * 28**2)
    assert height % 28 == width % 28 == 0
    assert 256 * 28**2 <= height * width <= 1280 * 28**2
    assert (height < width) == (size[0] < size[1])


def test_no_more_frames_than_there_are():
    with pytest.raises(ValueError, match='200 frames.*2 to 100'):
        smart_nframes({'nframes': 200}, 100, 25.)
    with pytest.raises(ValueError, match='0 frames'):
        smart_nframes({}, 1, 25.)
