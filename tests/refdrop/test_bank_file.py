r"""The bank on disk: what is kept comes back, and nothing is taken on trust."""
import json
import os
import random
import time
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.utils.weights import mutated
from wan.modules.model import WanModel
from wan.refdrop.bank import Reference
from wan.refdrop.bank_file import BankFile
from wan.refdrop.config import RefConfig
from wan.utils.checkpoint import CheckpointError

GRID = (1, 4, 4)
SIZES = dict(dim=24, ffn_dim=8, num_heads=2, num_layers=3, text_dim=4,
             in_dim=4, out_dim=4, freq_dim=8, text_len=4)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def photo(seed=0):
    alpha = torch.zeros(1, 64, 64)
    alpha[:, 8:40, 16:50] = 1
    return draw(3, 1, 64, 64, seed=seed), alpha


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return WanModel(**SIZES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'bank.safetensors'


def of(path, model=None, photos=None, prompt='a cup', ref=None, seed=0):
    if model is None:
        with torch.device('meta'):
            model = WanModel(**SIZES)
    return BankFile.of(path, model, photos or [photo()], GRID, prompt,
                       ref or RefConfig(), seed)


def references(file):
    return [
        Reference(*(tuple(draw(1, 16, 2, 12, seed=10 * n + 3 * part + i)
                          for i in range(3)) for part in range(2)),
                  GRID, mask)
        for n, mask in enumerate(file.masks)]


def test_what_is_kept_comes_back(path, model):
    file = of(path, model, [photo(), photo(1)]).loaded([model])
    assert file.load('cpu') is None
    want = references(file)
    file.save(want)
    got = file.load('cpu')
    assert len(got) == 2
    for a, b in zip(got, want, strict=True):
        assert a.grid == b.grid and torch.equal(a.mask, b.mask)
        assert all(map(torch.equal, a.keys, b.keys))
        assert all(map(torch.equal, a.values, b.values))
    assert got[0].mask.tolist() == [
        r in (1, 2) and c in (1, 2) or r == 0 and c in (1, 2)
        for r in range(4) for c in range(4)]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_bank_that_is_loaded_outlives_its_file(path):
    file = of(path)
    file.save(references(file))
    kept = file.load('cpu')[0].keys[2]
    os.truncate(path, 0)
    assert torch.equal(kept, draw(1, 16, 2, 12, seed=2))


@pytest.mark.parametrize('change, told', (
    ({'prompt': 'a mug'}, 'another prompt'),
    ({'photos': [photo(1)]}, 'another photo, mask or size'),
    ({'photos': [(photo()[0], 1 - photo()[1])]}, 'another photo, mask'),
    ({'photos': [photo(), photo(1)]}, 'holds 1 photos, 2 are given'),
    ({'ref': RefConfig(ref_t='0.5')}, 'other settings'),
    ({'ref': RefConfig(ref_noised=True)}, 'other settings'),
    ({'prompt': 'a mug', 'ref': RefConfig(ref_t='0.5')},
     'another prompt and other settings'),
))
def test_what_differs_is_told_without_weights(path, change, told):
    file = of(path).made_by('files')
    file.save(references(file))
    of(path).made_by('files').check()
    with pytest.raises(CheckpointError, match=told) as error:
        of(path, **change).made_by('files').check()
    assert str(path) in str(error.value)
    assert str(error.value).endswith('name a new file.')


def test_settings_of_the_reading_do_not_matter(path):
    file = of(path)
    file.save(references(file))
    ref = RefConfig(ref_c=(.9,), ref_layers='deep', ref_rope='none')
    of(path, ref=ref, seed=5).check()
    of(path, ref=RefConfig(ref_gate='joint', ref_rope='tail')).check()
    noised = of(path.with_name('other'), ref=RefConfig(ref_noised=True))
    noised.save(references(noised))
    with pytest.raises(CheckpointError, match='its seed'):
        of(noised.path, ref=RefConfig(ref_noised=True), seed=1).check()


def test_the_checkpoint_tells_by_its_files_and_by_its_weights(path, model):
    file = of(path, model).made_by('files').loaded([model])
    file.save(references(file))
    of(path).check()
    of(path).made_by('files').check()
    with pytest.raises(CheckpointError, match='another checkpoint;'):
        of(path).made_by('others').check()
    with torch.no_grad():
        model.head.head.weight.add_(1)
    with pytest.raises(CheckpointError, match='other weights'):
        of(path, model).made_by('files').loaded([model]).load('cpu')


def test_a_bank_of_a_model_without_files_is_told_by_its_weights(path, model):
    file = of(path, model).made_by(None).loaded([model])
    file.save(references(file))
    of(path).made_by('files').check()
    of(path, model).made_by('files').loaded([model]).load('cpu')
    half = WanModel(**SIZES).bfloat16()
    with pytest.raises(CheckpointError, match='other weights'):
        of(path, half).loaded([half]).load('cpu')


def rewritten(path, change, **metadata):
    with safe_open(path, 'pt') as file:
        old = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=old | metadata)


def replacing(name, make):

    def change(tensors):
        tensors[name] = make(tensors[name])

    return change


def poked(value):

    def poke(tensor):
        tensor = tensor.clone()
        tensor[0, 5, 1, 3] = value
        return tensor

    return poke


@pytest.mark.parametrize('change, told', (
    (replacing('0.1.k', lambda t: t[:, :9].clone()),
     r'0.1.k has shape \[1, 9, 2, 12\], not \[1, 16, 2, 12\]'),
    (replacing('0.2.v', lambda t: t.reshape(1, 16, 4, 6)), '0.2.v has shape'),
    (replacing('0.2.v', lambda t: t.flatten()), '0.2.v has shape'),
    (replacing('0.0.v', lambda t: t[:, :0].clone()), '0.0.v has shape'),
    (replacing('0.0.k', torch.Tensor.int), '0.0.k is torch.int32'),
    (replacing('0.0.k', torch.Tensor.bool), '0.0.k is torch.bool'),
    (replacing('0.0.k', lambda t: t.to(torch.complex64)), 'torch.complex64'),
    (replacing('0.0.k', lambda t: t.to(torch.float8_e4m3fn)), 'float8'),
    (replacing('0.0.k', torch.Tensor.half), 'of several dtypes'),
    (replacing('0.0.v', poked(torch.nan)), '0.0.v holds NaN or infinity'),
    (replacing('0.2.k', poked(-torch.inf)), '0.2.k holds NaN or infinity'),
    (replacing('0.1.k', torch.zeros_like), '0.1.k is zero at some token'),
    (replacing('0.1.v', torch.zeros_like), '0.1.v is zero at some token'),
    (replacing('0.3.k', lambda _: draw(1, 16, 2, 12)), '1 tensors, 0.3.k'),
    (replacing('0.mask', lambda _: draw(16)), '1 tensors, 0.mask'),
    (lambda t: t.pop('0.2.v'), '1 tensors, 0.2.v'),
    (dict.clear, '6 tensors, 0.0.k'),
))
def test_tensors_that_do_not_fit_are_named(path, change, told):
    file = of(path)
    file.save(references(file))
    rewritten(path, with_room(change))
    for use in (file.check, lambda: file.load('cpu')):
        with pytest.raises(CheckpointError, match=told) as error:
            use()
        assert str(path) in str(error.value)
        assert '\n' not in str(error.value)


def with_room(change):
    r"""The change of a dict in which other names may be replaced as well."""

    def apply(tensors):
        tensors.setdefault('0.3.k', None)
        tensors.setdefault('0.mask', None)
        change(tensors)
        for name in [n for n, t in tensors.items() if t is None]:
            del tensors[name]

    return apply


@pytest.mark.parametrize('metadata, told', (
    ({'version': '1'}, 'another version'),
    ({'photos': '-1'}, 'holds -1 photos'),
    ({'photos': '9' * 10**5}, 'holds 9{20} photos'),
    ({'facts': ''}, 'cannot be used'),
    ({'facts': '[]'}, 'another prompt|cannot be used'),
    ({'facts': '{}'}, 'another prompt and another photo'),
    ({'facts': '[' * 10**5}, 'cannot be used'),
    ({'facts': '{"prompt": NaN}'}, 'another prompt'),
))
def test_damaged_metadata(path, metadata, told):
    file = of(path)
    file.save(references(file))
    rewritten(path, lambda tensors: None, **metadata)
    with pytest.raises(CheckpointError, match=told) as error:
        file.check()
    assert len(str(error.value)) < 500 + len(str(path))


def test_a_bank_of_before_is_refused(path):
    save_file({'0.0.k': draw(1, 16, 2, 12)}, path, metadata={
        'key': '0', 'grids': json.dumps([GRID]), 'depth': '1'})
    with pytest.raises(
            CheckpointError, match='another version of this program wrote; '
            'name a new file'):
        of(path).check()
    save_file({'a': draw(3)}, path)
    with pytest.raises(CheckpointError, match='it is none, or'):
        of(path).check()


def test_a_file_that_is_no_bank(path):
    path.write_bytes(b'rubbish')
    with pytest.raises(CheckpointError, match='is not a readable bank: '):
        of(path).check()


def test_what_is_no_file_is_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match='is a pipe, not a file'):
        of(path).check()
    path.unlink()
    path.symlink_to('/dev/zero')
    with pytest.raises(CheckpointError, match='is a device, not a file'):
        of(path).check()
    path.unlink()
    path.mkdir()
    with pytest.raises(CheckpointError, match='is a folder, not a file'):
        of(path).check()


def test_a_bank_that_may_not_be_read(path, monkeypatch):
    file = of(path)
    file.save(references(file))

    def closed(*args, **kwargs):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(os, 'open', closed)
    with pytest.raises(CheckpointError, match='Permission denied'):
        file.check()


def test_another_model_is_told_by_its_shapes(path):
    file = of(path)
    file.save(references(file))
    for change, told in (
            ({'depth': 2}, r'2 tensors, 0\.2\.k'),
            ({'heads': 4, 'head_dim': 6}, r'not \[1, 16, 4, 6\]'),
            ({'grid': (1, 4, 5)}, r'not \[1, 20, 2, 12\]')):
        with pytest.raises(CheckpointError, match=told):
            replace(file, **change).check()


def test_where_none_is_it_must_be_possible_to_write_one(path):
    of(path).check()
    (path.parent / 'file').write_text('')
    with pytest.raises(ValueError, match='may be written to'):
        of(path.parent / 'file' / 'bank').check()


def test_fuzzed_banks_are_refused_or_whole(path):
    file = of(path)
    file.save(references(file))
    good, draw = path.read_bytes(), random.Random(17)
    stop, refusals = time.monotonic() + 1, 0
    while time.monotonic() < stop and refusals < 500:
        path.unlink()
        path.write_bytes(mutated(good, draw))
        try:
            kept, = file.load('cpu')
        except CheckpointError as error:
            refusals += 1
            assert '\n' not in str(error) and str(path) in str(error)
        else:
            assert all(t.isfinite().all() and t.shape == (1, 16, 2, 12)
                       for t in kept.keys + kept.values)
    assert refusals > 20
