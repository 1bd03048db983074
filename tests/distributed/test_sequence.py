r"""Tokens shared between processes give what one process gives."""
import importlib
import sys
from pathlib import Path

import pytest
import torch

from tests.distributed.cases import draw, forwards, refusals
from tests.distributed.pool import run, same
from tests.goldens import relative_error
from wan.distributed.mesh import Mesh
from wan.distributed.xdit_context_parallel import (
    YUNCHANG,
    attention_with_lse,
)

LIMIT = 1e-5
LAYOUTS = {
    'U2': Mesh(ulysses=2), 'R2': Mesh(ring=2), 'U4': Mesh(ulysses=4),
    'R4': Mesh(ring=4), 'U2R2': Mesh(ring=2, ulysses=2)}
# Tokens that divide by 4, and that leave a remainder of 3, 2 and 1.
GRIDS = (3, 4, 6), (3, 5, 5), (2, 5, 7), (1, 7, 11)
# Of which some processes get none.
TINY = (1, 1, 5)
HEADS = {'twelve': 12, 'dit_t2v': 4, 'dit_i2v': 2, 'dit_flf2v': 2,
         'vace': 4}


@pytest.fixture(scope='module')
def alone():
    r"""(case, what one process gives), of each network."""
    cases = [(name, grid) for name in HEADS for grid in GRIDS]
    cases += [('twelve', GRIDS[1], 3), ('twelve', TINY)]
    return list(zip(cases, forwards(None, cases), strict=True))


@pytest.mark.parametrize('layout', LAYOUTS)
def test_shared_tokens_give_the_same(layout, alone, tmp_path, parity):
    mesh = LAYOUTS[layout]
    fitting = [
        (case, want) for case, want in alone
        if HEADS[case[0]] % mesh.ulysses == 0
        and (mesh.ring == 1 or case[1] != TINY)]
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


@pytest.mark.parametrize('dtype, limit', [
    (torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_attention_and_the_sum_of_its_logits(dtype, limit):
    q, k, v = (draw(2, n, 3, 8, seed=i).to(dtype)
               for i, n in enumerate((7, 40, 40)))
    out, lse = attention_with_lse(q, k, v)
    logits = torch.einsum('blnd,bknd->bnlk', q.double(), k.double()) / 8**.5
    want = torch.einsum('bnlk,bknd->blnd', logits.softmax(-1), v.double())
    assert out.dtype == dtype and lse.dtype == torch.float32
    assert relative_error(out, want) < limit
    # Not rounded to bfloat16: the ring adds the blocks up by it.
    assert relative_error(lse, logits.logsumexp(-1)) < 1e-5


def test_the_engine_is_needed_by_nothing_else(monkeypatch):
    name = 'wan.distributed.xdit_context_parallel'
    monkeypatch.setitem(sys.modules, 'yunchang', None)
    monkeypatch.delitem(sys.modules, name)
    module = importlib.import_module(name)
    with pytest.raises(ValueError, match=f'pip install {YUNCHANG}$'):
        module.check_engine()
    root = Path(__file__).parents[2]
    assert f'"{YUNCHANG}"' in (root / 'pyproject.toml').read_text()
    assert f'\n{YUNCHANG}\n' in (root / 'constraints.txt').read_text()
