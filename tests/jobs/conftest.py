r"""Fixtures of the tasks that begin with an image."""
import pytest

from tests.cli import hollow
from tests.images import TYPES, make_pictures
from wan import configs


@pytest.fixture(scope='session')
def pictures(tmp_path_factory):
    r"""Images, and what is none, see `make_pictures`."""
    return make_pictures(tmp_path_factory.mktemp('pictures'))


@pytest.fixture(scope='session')
def shells(checkpoints, tmp_path_factory):
    r"""Checkpoints whose weights cannot be read, by task."""
    folder = tmp_path_factory.mktemp('hollow')
    return {task: hollow(checkpoints(kind), folder / kind)
            for task, kind in TYPES.items()}


@pytest.fixture
def small_sizes(monkeypatch):
    r"""128*128 is a size of both tasks."""
    for task in TYPES:
        monkeypatch.setitem(configs.SUPPORTED_SIZES, task, ('128*128',))
