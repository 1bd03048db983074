r"""The part of a template that is edited."""
import pytest
import torch

from tests.utils.media import make_clip
from wan.footage import Footage
from wan.jobs.shot import Found, opened


def test_a_video_is_looked_into_once_until_it_changes(tmp_path, monkeypatch):
    looked = []

    def look(path, original=Footage.open.__func__):
        looked.append(path)
        return original(Footage, path)

    monkeypatch.setattr(Footage, 'open', look)
    path = str(make_clip(
        tmp_path / 'a.mp4', source='testsrc=s=64x64:r=16:d=0.25'))
    first = opened(path)
    assert opened(path) is first
    assert len(looked) == 1
    make_clip(tmp_path / 'a.mp4', source='testsrc=s=64x48:r=16:d=0.25')
    assert opened(path).size == (64, 48)
    assert len(looked) == 2
    (tmp_path / 'a.mp4').unlink()
    with pytest.raises(ValueError, match='a.mp4'):
        opened(path)


def test_a_mask_that_was_found_is_of_the_templates_size_and_sharp():
    cells = torch.zeros(5, 4, 4)
    cells[:, 1:3, 1:3] = 1
    frames = list(Found(cells, (16, 16)).frames(3))
    assert [tuple(frame.shape) for frame in frames] == [(1, 16, 16)] * 3
    assert {*torch.stack(frames).unique().tolist()} == {0, 1}
    assert frames[0][0, 5:11, 5:11].all() and not frames[0][0, :2].any()
