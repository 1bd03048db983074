r"""Shared fixtures: the parity table printed at the end of a run."""
import pytest
import torch

from tools.random_checkpoint import make_checkpoint

_PARITY: list[tuple[str, float, float]] = []


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


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def pytest_terminal_summary(terminalreporter):
    if not _PARITY:
        return
    width = max(len(name) for name, _, _ in _PARITY)
    terminalreporter.section('parity: max |error| / max |expected|')
    for name, error, limit in sorted(_PARITY):
        terminalreporter.line(f'{name:<{width}}  {error:8.1e}  <= {limit:.0e}')
