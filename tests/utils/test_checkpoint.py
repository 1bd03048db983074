r"""Weights files: read in place, refused when wrong, told clearly."""
import json
import os
import pickle
import subprocess
import sys

import pytest
import torch
import torch.nn as nn
from safetensors.torch import save_file

from wan.utils.checkpoint import (
    CheckpointError,
    find_weights,
    load_weights,
    read_weights,
    sidecar,
    weight_files,
)

STEM = 'diffusion_pytorch_model'


class Net(nn.Module):
    _keep_in_fp32_modules = ['norm']

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.norm = nn.LayerNorm(3)
        self.normal = nn.Linear(3, 2, bias=False)
        self.register_buffer('steps', torch.arange(2))


def state(dtype=torch.float32):
    return {k: v.to(dtype) if v.is_floating_point() else v
            for k, v in Net().state_dict().items()}


def net():
    with torch.device('meta'):
        return Net()


def write(path, tensors):
    save = torch.save if path.suffix == '.pth' else save_file
    save(tensors, path)
    return path


@pytest.fixture(params=('.pth', '.safetensors'))
def file(request, tmp_path):
    return tmp_path / f'weights{request.param}'


@pytest.mark.parametrize('stored', (torch.float32, torch.bfloat16))
def test_stored_dtype_is_kept(file, stored):
    tensors = state(stored)
    model = load_weights(net(), write(file, tensors))
    assert not model.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, tensors[key])
        assert value.dtype == tensors[key].dtype
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize('stored', (torch.float32, torch.bfloat16))
def test_cast_spares_what_stays_float32(file, stored):
    tensors = state(stored)
    model = load_weights(net(), write(file, tensors), torch.bfloat16)
    for key, value in model.state_dict().items():
        part = key.split('.')[0]
        dtype = {'norm': torch.float32, 'steps': torch.int64}.get(
            part, torch.bfloat16)
        assert value.dtype == dtype, key
        assert torch.equal(value, tensors[key].to(dtype))


def test_assigned_not_copied(file):
    r"""Weights that stay as stored lie in the mapped file."""
    tensors = write(file, {'weight': torch.randn(256, 256)})
    with torch.device('meta'):
        model = nn.Linear(256, 256, bias=False)
    load_weights(model, tensors, torch.float32)
    address = model.weight.data_ptr()
    with open('/proc/self/maps') as maps:
        ranges = [line.split() for line in maps]
    for fields in ranges:
        start, end = (int(x, 16) for x in fields[0].split('-'))
        if start <= address < end:
            assert fields[-1] == str(file)
            return
    raise AssertionError('the weight lies in no mapping')


GROWTH = """
import sys
import torch
import torch.nn as nn
from pathlib import Path
from wan.utils.checkpoint import load_weights

def resident(kind):
    lines = Path('/proc/self/status').read_text().splitlines()
    fields = dict(line.split(':', 1) for line in lines)
    return int(fields[kind].split()[0]) / 1024

for dtype in torch.float32, torch.bfloat16:
    with torch.device('meta'):
        model = nn.ModuleList(
            nn.Linear(1024, 1024, bias=False) for _ in range(50))
    before = resident('VmRSS')
    load_weights(model, sys.argv[1], dtype)
    print(resident('VmRSS') - before, resident('VmHWM') - before)
"""


def test_memory_of_a_200_mb_file(tmp_path):
    r"""Untouched none is kept; cast, what is kept. 64 MB are read at once."""
    path = write(tmp_path / 'big.safetensors', {
        f'{i}.weight': torch.zeros(1024, 1024) for i in range(50)})
    run = subprocess.run(
        [sys.executable, '-c', GROWTH, str(path)], text=True,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
        capture_output=True, check=True)
    stored, cast = (
        list(map(float, line.split())) for line in run.stdout.splitlines())
    assert stored[0] < 20 and stored[1] < 100
    assert 100 <= cast[0] <= cast[1] < 180


def test_find_weights_prefers_the_name_it_was_given(tmp_path):
    pth, safe = tmp_path / 'net.pth', tmp_path / 'net.safetensors'
    with pytest.raises(CheckpointError, match=r'net\.pth.*safetensors'):
        find_weights(pth)
    write(safe, state())
    assert find_weights(pth) == safe
    write(pth, state())
    assert find_weights(pth) == pth


def test_sidecar(tmp_path):
    assert sidecar(tmp_path / 'net.pth') == {}
    (tmp_path / 'net.json').write_text('{"dim": 8}')
    assert sidecar(tmp_path / 'net.pth') == {'dim': 8}


def shards(folder, **renamed):
    r"""A checkpoint in two shards with its index."""
    tensors = state()
    names = {k: f'{STEM}-0000{1 + i % 2}-of-00002.safetensors'
             for i, k in enumerate(tensors)}
    for name in set(names.values()):
        write(folder / name, {
            k: v for k, v in tensors.items() if names[k] == name})
    (folder / f'{STEM}.safetensors.index.json').write_text(
        json.dumps({'weight_map': names | renamed}))
    return tensors


def test_shards(tmp_path):
    tensors = shards(tmp_path)
    files = weight_files(tmp_path)
    assert [f.name.split('-')[1] for f in files] == ['00001', '00002']
    model = load_weights(net(), files)
    for key, value in model.state_dict().items():
        assert torch.equal(value, tensors[key])


def test_one_file_in_a_folder(tmp_path):
    with pytest.raises(CheckpointError, match='No weights at'):
        weight_files(tmp_path)
    path = write(tmp_path / f'{STEM}.safetensors', state())
    assert weight_files(tmp_path) == [path]


def test_missing_shard(tmp_path):
    shards(tmp_path)
    (tmp_path / f'{STEM}-00002-of-00002.safetensors').unlink()
    with pytest.raises(CheckpointError, match='00002-of-00002'):
        weight_files(tmp_path)


@pytest.mark.parametrize('name', ('../secret.safetensors', '/etc/passwd'))
def test_index_may_not_leave_its_folder(tmp_path, name):
    shards(tmp_path, **{'linear.weight': name})
    with pytest.raises(CheckpointError, match='outside its folder'):
        weight_files(tmp_path)


@pytest.mark.parametrize('text', ('', '{', '[]', '{}', '{"weight_map": 3}'))
def test_damaged_index(tmp_path, text):
    (tmp_path / f'{STEM}.safetensors.index.json').write_text(text)
    with pytest.raises(CheckpointError, match='index.json'):
        weight_files(tmp_path)


@pytest.mark.parametrize('damage', (
    lambda data: data[:len(data) // 2], lambda data: data[:5],
    lambda data: b'', lambda data: b'version https://git-lfs.example/v1\n'))
def test_damaged_file(file, damage):
    write(file, state())
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match=f'Cannot read .*{file.name}'):
        read_weights(file)


def test_absent_file(file):
    with pytest.raises(CheckpointError, match=f'Cannot read .*{file.name}'):
        read_weights(file)


class Attack:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize('dump', (
    torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj))))
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, dump):
    path, target = tmp_path / 'evil.pth', tmp_path / 'owned'
    dump({'linear.weight': Attack(target)}, path)
    with pytest.raises(CheckpointError, match='Cannot read .*evil.pth'):
        read_weights(path)
    assert not target.exists()


@pytest.mark.parametrize('content', ([1], {'a': 1}, torch.zeros(3)))
def test_more_than_tensors_is_refused(tmp_path, content):
    path = tmp_path / 'nested.pth'
    torch.save(content, path)
    with pytest.raises(CheckpointError, match='not a plain dict of tensors'):
        read_weights(path)


def test_one_message_tells_all_that_is_wrong(file):
    tensors = state()
    del tensors['linear.bias'], tensors['steps']
    tensors |= {f'extra.{i}': torch.zeros(1) for i in range(5)}
    tensors['normal.weight'] = torch.zeros(3, 2)
    with pytest.raises(CheckpointError) as error:
        load_weights(net(), write(file, tensors))
    message = str(error.value)
    assert file.name in message
    assert '2 missing (steps, linear.bias)' in message
    assert '5 unexpected (extra.0, extra.1, extra.2, ...)' in message
    assert '1 misshaped (normal.weight (3, 2) instead of (2, 3))' in message


def test_message_counts_the_shards(tmp_path):
    tensors = shards(tmp_path)
    first, second = weight_files(tmp_path)
    with pytest.raises(CheckpointError, match=f'{first.name}.*missing'):
        load_weights(net(), first)
    write(second, {'stranger': tensors['linear.weight']})
    with pytest.raises(CheckpointError, match=r'\(\+1 more\).*stranger'):
        load_weights(net(), [first, second])


@pytest.mark.parametrize('text', ['{"dim"', '8', ''])
def test_a_sidecar_that_is_no_json_object(tmp_path, text):
    (tmp_path / 'net.json').write_text(text)
    with pytest.raises(CheckpointError, match='net.json is not a JSON object'):
        sidecar(tmp_path / 'net.pth')
