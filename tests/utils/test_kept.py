r"""Tensors that are kept, and made anew once what they depend on changes."""
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from wan.utils.kept import NOTHING_KEPT, Kept, KeptIn, key_of


@pytest.fixture(params=('memory', 'folder'))
def kept(request, tmp_path):
    if request.param == 'memory':
        return Kept(('latent', 'text.null'))
    return KeptIn(tmp_path, {'latent': 'weights'}, ('text.null',))


def test_what_was_put_is_there_for_the_same_parts(kept):
    video, value = torch.rand(3, 5, 8, 8), torch.rand(4, 2)
    assert kept.get('latent', video) is None
    kept.put('latent', value, video)
    assert torch.equal(kept.get('latent', video.clone()), value)
    assert kept.get('latent', video + 1e-3) is None
    assert kept.get('text.null', video) is None
    kept.put('text.null', value + 1, 'a prompt')
    assert torch.equal(kept.get('text.null', 'a prompt'), value + 1)
    assert kept.get('text.null', 'another') is None


def test_other_names_are_not_kept(kept):
    for any_kept in (kept, NOTHING_KEPT):
        any_kept.put('bank', torch.ones(1), 1)
        assert any_kept.get('bank', 1) is None


def test_other_weights_make_it_anew(tmp_path):
    KeptIn(tmp_path, {'latent': 'a'}).put('latent', torch.ones(2), 1)
    assert torch.equal(
        KeptIn(tmp_path, {'latent': 'a'}).get('latent', 1), torch.ones(2))
    assert KeptIn(tmp_path, {'latent': 'b'}).get('latent', 1) is None
    assert [p.name for p in tmp_path.iterdir()] == ['latent.safetensors']


@pytest.mark.parametrize('content', (
    b'', b'no tensors', b'\xff' * 64))
def test_a_damaged_file_is_as_none(tmp_path, content):
    (tmp_path / 'latent.safetensors').write_bytes(content)
    kept = KeptIn(tmp_path, {'latent': 'a'})
    assert kept.get('latent', 1) is None
    kept.put('latent', torch.ones(2), 1)
    assert kept.get('latent', 1) is not None


def test_not_a_number_is_as_none(tmp_path):
    kept = KeptIn(tmp_path, {'latent': 'a'})
    kept.put('latent', torch.tensor([torch.nan]), 1)
    assert kept.get('latent', 1) is None


def test_keys_tell_values_shapes_and_order():
    a, b = torch.zeros(2, 3), torch.zeros(3, 2)
    assert key_of(a) == key_of(a.clone())
    assert len({key_of(a), key_of(b), key_of(a, 1), key_of(1, a),
                key_of('1'), key_of(1)}) == 6


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / 'file').write_text('')
    told = []
    kept = KeptIn(tmp_path / 'file', {'latent': 'a'}, tell=told.append)
    kept.put('latent', torch.ones(2), 1)
    assert kept.get('latent', 1) is None
    assert len(told) == 1 and 'cannot be written' in told[0]


def test_whoever_may_read_the_folder_may_read_it(tmp_path):
    (tmp_path / 'usual').write_text('')
    KeptIn(tmp_path, {'latent': 'a'}).put('latent', torch.ones(2), 1)
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_several_may_write_at_once(tmp_path):
    r"""Each reads its own value or none, never another's or half a one."""

    def job(number):
        kept, value = KeptIn(tmp_path, {'latent': 'a'}), torch.full(
            (4096,), float(number))
        for _ in range(10):
            kept.put('latent', value, number)
            found = kept.get('latent', number)
            assert found is None or torch.equal(found, value)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(job, range(4)))
    assert [p.name for p in tmp_path.iterdir()] == ['latent.safetensors']
