r"""Checkouts of the stand-in for Wan2.1."""
import pytest

from tests.tools.standin import make_checkout


@pytest.fixture(scope='session')
def plain(tmp_path_factory):
    r"""An untouched checkout; not to be written to."""
    return make_checkout(tmp_path_factory.mktemp('plain') / 'wan21')


@pytest.fixture(scope='session')
def on(tmp_path_factory):
    r"""A grafted checkout; not to be written to."""
    from tools import graft
    folder = make_checkout(tmp_path_factory.mktemp('grafted') / 'wan21')
    assert graft.main([str(folder)]) == 0
    return folder


@pytest.fixture
def checkout(tmp_path):
    r"""An untouched checkout."""
    return make_checkout(tmp_path / 'wan21')
