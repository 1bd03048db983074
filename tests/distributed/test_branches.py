r"""Which group evaluates what."""
import torch
import torch.distributed as dist

from tests.distributed.pool import run, single
from wan.distributed.branches import spread_branches
from wan.distributed.mesh import Mesh

NAMES = 'q', 'ps', 'pt', 'ptr'


def spread(groups, names):
    r"""Velocities that tell who made them, and what was asked for here."""
    asked = []

    def velocity(latents, t):
        asked.append((list(latents), t))
        return {name: x.double().add(100 * dist.get_rank() + t).float()
                for name, x in latents.items()}

    v = spread_branches(velocity, groups.branch)
    latents = {name: torch.full((2, 1, 2, 2), float(i))
               for i, name in enumerate(names)}
    out = v(latents, 1000.)
    assert list(out) == list(names)
    return [float(x.mean()) for x in out.values()], asked


def test_each_group_has_its_branches(tmp_path):
    got = run(spread, Mesh(branch=3), tmp_path, NAMES)
    assert [numbers for numbers, _ in got] == [
        [1000., 1101., 1202., 1003.]] * 3
    assert [asked for _, asked in got] == [
        [(['q', 'ptr'], 1000.)], [(['ps'], 1000.)], [(['pt'], 1000.)]]


def test_a_group_without_a_branch_asks_for_nothing(tmp_path):
    got = run(spread, Mesh(branch=2), tmp_path, ('cond',))
    assert got == [([1000.], [(['cond'], 1000.)]), ([1000.], [])]


def test_one_group_evaluates_all(tmp_path):
    got = run(spread, single(2), tmp_path, NAMES[:2])
    assert [asked for _, asked in got] == [[(['q', 'ps'], 1000.)]] * 2
