r"""Runs a function in several processes that talk to each other over gloo.

The processes are forked from a server that has everything imported, which
takes a tenth of a second where starting Python takes seconds.
"""
import multiprocessing
import pickle
import time
import traceback
import warnings
from multiprocessing.connection import wait

import torch

from wan.distributed.groups import Groups, processes
from wan.distributed.mesh import Mesh

CPU = torch.device('cpu')
# Seconds for one case, for a process to wait for the others, and to exit.
CASE, PEER, EXIT = 150., 60., 30.
PRELOADED = ('torch', 'torch.distributed.fsdp', 'yunchang', 'wan',
             'tests.distributed.pool', 'tests.distributed.editing')


def context():
    found = multiprocessing.get_context('forkserver')
    found.set_forkserver_preload(list(PRELOADED))
    return found


def run(function, mesh, folder, *arguments, timeout=CASE):
    r"""What function(groups, *arguments) returns in each process.

    Args:
        function: of a module, so that its name finds it.
        mesh: the processes.
        folder: an empty one, where they meet.
        arguments: plain values.
        timeout: seconds.

    Raises:
        AssertionError: a process failed, with its traceback, or did not end
            in time and well.
    """
    ctx = context()
    workers, ends = [], []
    for rank in range(mesh.size):
        here, there = ctx.Pipe(duplex=False)
        worker = ctx.Process(target=_work, daemon=True, args=(
            there, rank, mesh, str(folder / 'meeting'), function, arguments))
        worker.start()
        there.close()
        workers.append(worker)
        ends.append(here)
    try:
        results = _results(ends, time.monotonic() + timeout)
        for worker in workers:
            worker.join(EXIT)
        codes = [worker.exitcode for worker in workers]
        assert not any(codes) and None not in codes, f'exit codes {codes}'
        return results
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _results(ends, deadline):
    r"""Of all processes in order; the first failure ends it."""
    results = {}
    while len(results) < len(ends):
        ready = wait([end for i, end in enumerate(ends) if i not in results],
                     max(0, deadline - time.monotonic()))
        missing = sorted(set(range(len(ends))) - set(results))
        if not ready:
            raise AssertionError(f'Ranks {missing} did not end in time.')
        for end in ready:
            rank = ends.index(end)
            try:
                result, failure = pickle.loads(end.recv_bytes())
            except EOFError:
                failure = 'it died without a word'
            if failure is not None:
                raise AssertionError(f'Rank {rank} failed: {failure}')
            results[rank] = result
    return [results[rank] for rank in range(len(ends))]


def _work(end, rank, mesh, meeting, function, arguments):
    torch.set_num_threads(1)
    warnings.simplefilter('error')
    with torch.no_grad(), processes(
            CPU, PEER, init_method=f'file://{meeting}', rank=rank,
            world_size=mesh.size):
        # A failure is told before the others can see that this process ends.
        try:
            told = function(Groups.of(mesh, CPU), *arguments), None
        except BaseException:
            told = None, traceback.format_exc()
        # Copied, where torch would share the memory of a process that ends.
        end.send_bytes(pickle.dumps(told))


def same(results):
    r"""The first process's result, which all others' are bit for bit."""
    first, *others = results
    for rank, other in enumerate(others, 1):
        assert _equal(first, other), f'rank {rank} has another result'
    return first


def _equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    return a == b


def single(count):
    r"""A mesh of processes that share nothing."""
    return Mesh(copies=count)
