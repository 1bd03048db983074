r"""Digests of sources: what makes a finished number an old one."""
import shutil

import pytest

from wan.utils import sources
from wan.utils.sources import EDITING, READING, source_digest


@pytest.fixture
def copy(tmp_path, monkeypatch):
    r"""The package's sources, to be changed."""
    root = tmp_path / 'wan'
    shutil.copytree(sources.ROOT, root, ignore=shutil.ignore_patterns(
        '__pycache__'))
    monkeypatch.setattr(sources, 'ROOT', root)
    yield root
    source_digest.cache_clear()


def digest():
    source_digest.cache_clear()
    return source_digest(*EDITING)


def test_a_change_of_the_method_is_another_key(copy):
    before = digest()
    assert digest() == before
    for name in ('flowalign.py', 'refdrop/blend.py', 'modules/model.py'):
        file = copy / name
        file.write_text(file.read_text() + '\n')
        assert digest() != before
        before = digest()


def test_another_room_does_not_matter(copy):
    before = digest()
    for name in ('jobs/plan.py', 'utils/video.py'):
        file = copy / name
        file.write_text(file.read_text() + '# more\n')
    assert digest() == before


def test_an_experiment_depends_on_how_its_files_are_read(copy):
    before = source_digest(*EDITING, *READING)
    file = copy / 'utils/video_filters.py'
    file.write_text(file.read_text() + '\n')
    source_digest.cache_clear()
    assert source_digest(*EDITING, *READING) != before


def test_a_moved_file_is_another_key_and_a_lost_one_an_error(copy):
    before = digest()
    (copy / 'refdrop/blend.py').rename(copy / 'refdrop/mix.py')
    assert digest() != before
    (copy / 'flowalign.py').unlink()
    with pytest.raises(FileNotFoundError):
        digest()
