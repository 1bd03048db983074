r"""Tokens shared between processes give what one process gives."""
import pytest

from tests.distributed.cases import forwards, refusals
from tests.distributed.pool import run, same
from tests.goldens import relative_error
from wan.distributed.mesh import Mesh

LIMIT = 1e-5
LAYOUTS = {
    'U2': Mesh(ulysses=2), 'R2': Mesh(ring=2), 'U4': Mesh(ulysses=4),
    'R4': Mesh(ring=4), 'U2R2': Mesh(ring=2, ulysses=2)}
# Tokens that divide by 4, and that leave a remainder of 3, 2 and 1.
GRIDS = (3, 4, 6), (3, 5, 5), (2, 5, 7), (1, 7, 11)
HEADS = {'twelve': 12, 'dit_t2v': 4, 'dit_i2v': 2, 'dit_flf2v': 2}


@pytest.fixture(scope='module')
def alone():
    r"""(case, what one process gives), of each network."""
    cases = [(name, grid) for name in HEADS for grid in GRIDS]
    cases += [('twelve', GRIDS[1], 3)]
    return list(zip(cases, forwards(None, cases), strict=True))


@pytest.mark.parametrize('layout', LAYOUTS)
def test_shared_tokens_give_the_same(layout, alone, tmp_path, parity):
    mesh = LAYOUTS[layout]
    fitting = [
        (case, want) for case, want in alone
        if HEADS[case[0]] % mesh.ulysses == 0]
    got = same(run(forwards, mesh, tmp_path, [case for case, _ in fitting]))
    worst = {}
    for (case, want), outs in zip(fitting, got, strict=True):
        error = max(map(relative_error, outs, want))
        worst[case[0]] = max(error, worst.get(case[0], 0.))
    for name, error in worst.items():
        parity(f'{layout}: {name}', error, LIMIT)


def test_what_cannot_be_shared_is_refused(tmp_path):
    cases = [('twelve', [(1, 2, 3), (1, 2, 2)]), ('twelve', [(1, 1, 1)])]
    told = same(run(refusals, Mesh(ring=2), tmp_path, cases))
    assert len(told) == 2
    assert 'unequal sizes' in told[0] and 'one by one' in told[0]
    assert '1 tokens' in told[1] and 'ring_size 2' in told[1]
