r"""Shared fixtures: the parity table printed at the end of a run."""
import os

import pytest
import torch

from tools.random_checkpoint import make_checkpoint

_PARITY: list[tuple[str, float, float]] = []
# Processes that share the cores: threads would wait for each other.
if 'PYTEST_XDIST_WORKER' in os.environ:
    torch.set_num_threads(1)


@pytest.fixture
def parity():
    r"""Assert a relative error and put it in the table the run prints."""

    def check(name: str, error: float, limit: float = 1e-4) -> None:
        _PARITY.append((name, error, limit))
        assert error <= limit, f'{name}: {error:.2e} > {limit:.0e}'

    return check


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    r"""A small random checkpoint folder; not to be written to."""
    return make_checkpoint(tmp_path_factory.mktemp('checkpoint'))


@pytest.fixture(scope='session')
def vace_checkpoint(tmp_path_factory):
    r"""One of type vace; not to be written to."""
    return make_checkpoint(
        tmp_path_factory.mktemp('vace_checkpoint'), model_type='vace')


@pytest.fixture(scope='module')
def shell(checkpoint, tmp_path_factory):
    r"""A checkpoint whose weights cannot be read."""
    from tests.cli import hollow
    return hollow(checkpoint, tmp_path_factory.mktemp('hollow') / 'it')


@pytest.fixture(scope='module')
def media(tmp_path_factory):
    r"""A template, photos and masks of an edit, see `make_media`."""
    from tests.edits import make_media
    return make_media(tmp_path_factory.mktemp('media'))


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def pytest_sessionfinish(session):
    r"""A worker hands its part of the table over."""
    if hasattr(session.config, 'workeroutput'):
        session.config.workeroutput['parity'] = _PARITY


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    r"""And the table is put together."""
    _PARITY.extend(map(tuple, getattr(node, 'workeroutput', {}).get(
        'parity', ())))


def pytest_terminal_summary(terminalreporter):
    if not _PARITY:
        return
    width = max(len(name) for name, _, _ in _PARITY)
    terminalreporter.section('parity: max |error| / max |expected|')
    for name, error, limit in sorted(_PARITY):
        terminalreporter.line(f'{name:<{width}}  {error:8.1e}  <= {limit:.0e}')
