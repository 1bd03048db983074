r"""Starting, agreeing, failing and ending together."""
import os
import signal
import time

import pytest
import torch
import torch.distributed as dist

from tests.distributed.pool import CASE, run, same, single
from wan.distributed.groups import (
    Groups,
    from_first,
    local_device,
    world_size,
)
from wan.distributed.mesh import Mesh
from wan.utils.checkpoint import CheckpointError


def layout(groups):
    r"""The ranks of each of this process's groups."""
    ranks = dist.get_process_group_ranks
    return (ranks(groups.weights.get_group()), ranks(groups.branch),
            ranks(groups.ring), ranks(groups.ulysses))


def test_layout(tmp_path):
    got = run(layout, Mesh(branch=2, ulysses=2), tmp_path)
    assert got == [
        ([0, 1], [0, 2], [0], [0, 1]), ([0, 1], [1, 3], [1], [0, 1]),
        ([2, 3], [0, 2], [2], [2, 3]), ([2, 3], [1, 3], [3], [2, 3])]


def test_each_process_has_a_device_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('LOCAL_RANK', '1')
    assert local_device() == torch.device('cuda', 1)
    monkeypatch.setenv('LOCAL_RANK', '2')
    with pytest.raises(ValueError, match='Process 2 .* there are 2'):
        local_device()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert local_device() == torch.device('cpu')


def test_how_many_processes_were_started(monkeypatch):
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    assert world_size() == 1
    monkeypatch.setenv('WORLD_SIZE', '8')
    assert world_size() == 8


class Peculiar(Exception):
    def __init__(self, one, other):
        super().__init__(f'{one} and {other}')


def agreements(groups):
    told = []

    def fails(error):
        def make():
            raise error
        try:
            from_first(make)
        except Exception as raised:
            told.append(f'{type(raised).__name__}: {raised}')

    told.append(from_first(lambda: dist.get_rank() + 7))
    fails(CheckpointError('no file'))
    fails(Peculiar(1, 2))
    return told


def test_all_take_what_the_first_makes(tmp_path):
    first, second = run(agreements, single(2), tmp_path)
    assert first == [7, 'CheckpointError: no file', 'Peculiar: 1 and 2']
    assert second == first[:2] + ['RuntimeError: Peculiar: 1 and 2']
    assert from_first(lambda: 3) == 3


def another_size(groups):
    try:
        Groups.of(Mesh(ulysses=3), torch.device('cpu'))
    except ValueError as error:
        return str(error)


def test_another_number_of_processes(tmp_path):
    told = same(run(another_size, single(2), tmp_path))
    assert '3 processes, 2 are running' in told


def raises(groups):
    if dist.get_rank() == 1:
        raise KeyError('the reason')
    dist.barrier()


def dies(groups):
    if dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()


def hangs(groups):
    time.sleep(100)


@pytest.mark.parametrize('function, timeout, message', [
    (raises, CASE, r"Rank 1 failed(?s:.*)in raises(?s:.*)KeyError: 'the rea"),
    (dies, CASE, 'Rank . failed'),
    (hangs, 3, r'Ranks \[0, 1\] did not end')])
def test_a_failure_is_the_tests(function, timeout, message, tmp_path):
    with pytest.raises(AssertionError, match=message):
        run(function, single(2), tmp_path, timeout=timeout)
