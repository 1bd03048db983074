r"""Which arrangements of processes there are."""
import pytest

from wan.distributed.mesh import Mesh


@pytest.mark.parametrize('size, heads, given, want', [
    (8, 12, ('auto', 'auto'), Mesh(ring=2, ulysses=4)),
    (8, 40, ('auto', 'auto'), Mesh(ulysses=8)),
    (6, 12, ('auto', 'auto'), Mesh(ulysses=6)),
    (8, 12, ('auto', 4), Mesh(ring=4, ulysses=2)),
    (8, 12, (2, 'auto'), Mesh(ring=4, ulysses=2)),
    (8, 12, (1, 8), Mesh(ring=8)),
    (8, 12, ('auto', 'auto', 2), Mesh(branch=2, ulysses=4)),
    (6, 12, (1, 1, 3, True), Mesh(branch=3, copies=2)),
    (3, 12, (1, 1, 3), Mesh(branch=3)),
    (1, 12, ('auto', 'auto'), Mesh()),
])
def test_sizes(size, heads, given, want):
    mesh = Mesh.of(size, heads, *given)
    assert mesh == want and mesh.size == size


@pytest.mark.parametrize('size, given, message', [
    (8, (8, 1), 'ulysses_size 8 x ring_size 1 does not fit 8 processes and '
     '12 heads; possible are 4 x 2, 2 x 4, 1 x 8.'),
    (8, (2, 2), 'possible are 4 x 2'),
    (8, (1, 1), 'does not fit 8 processes'),
    (8, (16, 'auto'), 'does not fit'), (8, ('auto', 3), 'does not fit'),
    (8, (0, 'auto'), 'does not fit'), (8, ('auto', 0), 'does not fit'),
    (8, (8, 1, 2), '4 processes of each of 2 groups .* possible are 4 x 1'),
    (6, (1, 1, 4), 'branch_parallel is 4, .* 6 processes: 1, 2, 3, 6.'),
    (6, (1, 1, 0), 'branch_parallel is 0'),
])
def test_what_does_not_fit_names_what_does(size, given, message):
    with pytest.raises(ValueError, match=message):
        Mesh.of(size, 12, *given)


def test_every_part_of_the_ring_needs_a_token():
    mesh = Mesh(ring=4, ulysses=2)
    assert [mesh.shard_length(n) for n in (72, 75, 80)] == [9, 10, 10]
    assert mesh.shard_length(7) == 1
    # Two tokens each are three parts and a half.
    assert mesh.shard_length(13) == 2
    for tokens in (6, 9, 12):
        with pytest.raises(ValueError, match=f'{tokens} tokens .* ring_size'):
            mesh.shard_length(tokens)
    assert Mesh(ulysses=4).shard_length(5) == 2
