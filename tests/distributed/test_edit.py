r"""What several processes make is what one makes, step by step."""
import pytest

from tests.distributed.editing import (
    TINY,
    edits,
    everything,
    settings,
    sparse_edits,
)
from tests.distributed.pool import run, same, single
from tests.goldens import relative_error
from wan.distributed.mesh import Mesh

LIMIT = 1e-5
# (processes, whether they share the weights).
LAYOUTS = {
    'U2': (Mesh(ulysses=2), False),
    'R2': (Mesh(ring=2), False),
    'U4': (Mesh(ulysses=4), False),
    'U2R2': (Mesh(ring=2, ulysses=2), False),
    'FSDP2': (single(2), True),
    'FSDP2 x U2': (Mesh(ulysses=2), True),
    'branch 3x1': (Mesh(branch=3), False),
    'branch 2x2': (Mesh(branch=2, ulysses=2), True),
}


@pytest.fixture(scope='module')
def alone():
    return everything(None)


def test_spread_weights_edit_only_what_changes(tmp_path, parity):
    got = same(run(sparse_edits, single(2), tmp_path, True))
    parity('FSDP2: sparse',
           max(map(relative_error, got, sparse_edits(None))), LIMIT)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_edit_and_sampling(layout, alone, tmp_path, parity):
    mesh, fsdp = LAYOUTS[layout]
    got = same(run(everything, mesh, tmp_path, fsdp))
    for name, want in alone.items():
        parity(f'{layout}: {name}',
               max(map(relative_error, got[name], want)), LIMIT)


def test_a_process_without_a_token(tmp_path, parity):
    got = same(run(edits, Mesh(ulysses=4), tmp_path, False, (TINY,)))
    parity('U4: edits, 5 tokens', max(
        map(relative_error, got, edits(None, shapes=(TINY,)))), LIMIT)


def test_every_setting_of_the_reference(tmp_path, parity):
    want = settings(None)
    assert len({float(x.sum()) for x in want.values()}) == len(want)
    got = same(run(settings, Mesh(ring=2, ulysses=2), tmp_path))
    for name, one in want.items():
        parity(f'U2R2: ref {name}', relative_error(got[name], one), LIMIT)
