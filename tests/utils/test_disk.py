r"""Long videos lie in a file that is mapped, and has no name."""
import tempfile

import pytest
import torch

from wan.utils import disk


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.setattr(disk, 'IN_MEMORY', 1000)
    return tmp_path


def mapped(path):
    with open('/proc/self/maps') as maps:
        return sum(str(path) in line for line in maps)


def test_a_small_tensor_is_in_memory(folder):
    small = disk.empty((3, 5, 4, 4))
    assert small.shape == (3, 5, 4, 4) and small.dtype == torch.float32
    assert not mapped(folder)


def test_a_large_one_lies_in_a_file_that_ends_with_it(folder):
    large = disk.empty((3, 50, 4, 4))
    large.copy_(torch.arange(2400.).view(3, 50, 4, 4))
    assert large.sum() == 2400 * 2399 / 2
    assert mapped(folder) and not list(folder.iterdir())
    del large
    assert not mapped(folder)


def test_no_room_is_an_error_before_anything_is_computed(folder, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(disk.os, 'posix_fallocate', full, raising=False)
    with pytest.raises(OSError, match='No space left'):
        disk.empty((3, 50, 4, 4))
    assert not list(folder.iterdir())
