r"""Weights files that are damaged, or hold what is no weight."""
import random
import shutil
import time

import pytest
import torch
import torch.nn as nn
from safetensors.torch import load_file

from tests.utils.weights import (
    CONFIG,
    DIT,
    T5,
    VAE,
    mutated,
    net,
    refused,
    state,
    write,
)
from wan.modules.model import WanModel
from wan.modules.t5 import T5EncoderModel
from wan.modules.vae import WanVAE
from wan.utils import weights
from wan.utils.checkpoint import CheckpointError, load_weights, read_weights


@pytest.fixture(params=('.pth', '.safetensors'))
def file(request, tmp_path):
    return tmp_path / f'weights{request.param}'


@pytest.fixture
def copy(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / 'copy')


@pytest.mark.parametrize('prefix', (
    'module.', 'model.diffusion_model.', 'model.diffusion_model.module.',
    'module.model.diffusion_model.'))
def test_prefixes_of_other_programs_are_left_out(file, prefix):
    tensors = state()
    write(file, {prefix + k: v for k, v in tensors.items()})
    for dtype in (None, torch.bfloat16):
        model = load_weights(net(), file, dtype)
        for key, value in model.state_dict().items():
            want = tensors[key] if dtype is None or key == 'steps' \
                else tensors[key].to(dtype)
            assert torch.equal(value, want)


def test_a_prefix_is_shown_where_the_name_is_no_other(file):
    said = refused(load_weights, net(), write(
        file, {f'module.{k}x': v for k, v in state().items()}))
    assert '5 unexpected (module.' in said


def test_a_weight_under_two_names_is_refused(file):
    write(file, state() | {'module.linear.bias': torch.zeros(3)})
    assert 'linear.bias is given a second time' in refused(
        load_weights, net(), file)


@pytest.mark.parametrize('dtype', (
    torch.int64, torch.uint8, torch.bool, torch.complex64, torch.int16))
def test_what_is_no_floating_point_is_no_weight(file, dtype):
    write(file, state(**{'linear.weight': torch.ones(3, 4).to(dtype)}))
    said = refused(load_weights, net(), file)
    name = str(dtype).removeprefix('torch.')
    assert f'{file.name}: linear.weight is {name}, needed is one of ' in said


def test_a_buffer_of_whole_numbers_stays_one(file):
    write(file, state(steps=torch.ones(2)))
    assert 'steps is float32, needed is int64' in refused(
        load_weights, net(), file)


@pytest.mark.parametrize('dtype', (torch.float16, torch.float64))
def test_floating_point_of_any_width_is_read(file, dtype):
    tensors = {k: v.to(dtype) if v.is_floating_point() else v
               for k, v in state().items()}
    model = load_weights(net(), write(file, tensors), torch.float32)
    assert torch.equal(model.linear.weight, tensors['linear.weight'].float())


@pytest.mark.parametrize('more, told', (
    ({}, 'without the scales'),
    ({'linear.scale_weight': torch.ones(1)}, 'with scales'),
    ({'linear.weight_scale': torch.ones(1)}, 'with scales'),
    ({'scaled_fp8': torch.zeros(2)}, 'with scales'),
))
@pytest.mark.parametrize('dtype', (torch.float8_e4m3fn, torch.float8_e5m2))
def test_fp8_is_refused(file, dtype, more, told):
    write(file, state(**{'linear.weight': torch.ones(3, 4).to(dtype)}) | more)
    said = refused(load_weights, net(), file)
    assert f'{file.name}: linear.weight is float8_' in said and told in said


@pytest.mark.parametrize('value', (torch.nan, torch.inf, -torch.inf))
@pytest.mark.parametrize('key', ('linear.weight', 'norm.bias'))
@pytest.mark.parametrize('dtype', (None, torch.bfloat16))
def test_one_number_that_is_none(file, value, key, dtype):
    tensors = state()
    tensors[key].view(-1)[1] = value
    said = refused(load_weights, net(), write(file, tensors), dtype)
    assert said == (
        f'{file}: {key} holds NaN or infinity: the file is damaged.')


def test_a_number_too_large_for_its_dtype(file):
    tensors = state()
    tensors['linear.bias'][0] = 1e5
    load_weights(net(), write(file, tensors))
    assert 'linear.bias holds NaN or infinity' in refused(
        load_weights, net(), file, torch.float16)


def test_large_files_are_looked_at_here_and_there(tmp_path, monkeypatch):
    r"""Blocks evenly spread, first and last numbers, and all that is copied."""
    monkeypatch.setattr(weights, 'LOOKED_AT', 2**20)
    good = torch.zeros(8, 2**15 + 1)
    with torch.device('meta'):
        model = nn.Linear(2**15 + 1, 8, bias=False)
    seen = []
    for place in (0, 2**15 * 2 + 5, 2**15 * 3 + 5, -1):
        bad = good.clone()
        bad.view(-1)[place] = torch.nan
        path = write(tmp_path / 'big.safetensors', {'weight': bad})
        try:
            load_weights(model, path)
            seen.append(False)
        except CheckpointError:
            seen.append(True)
        refused(load_weights, model, path, torch.bfloat16)
    assert seen == [True, True, False, True]


def test_meta_tensors_and_sparse_ones(tmp_path):
    path = tmp_path / 'weights.pth'
    write(path, state(**{'norm.bias': torch.empty(3, device='meta')}))
    assert 'norm.bias has no numbers, only a shape' in refused(
        load_weights, net(), path)
    write(path, state(**{'linear.weight': torch.ones(3, 4).to_sparse()}))
    assert 'linear.weight is stored sparse' in refused(
        load_weights, net(), path)


@pytest.mark.parametrize('content, told', (
    ({0: torch.zeros(3)}, "entry '0' is of type Tensor, its name of type int"),
    ({'state_dict': state()}, "'state_dict' is of type"),
    ({'a': torch.zeros(1), 'step': 3}, "'step' is of type int"),
    ([torch.zeros(1)], 'of type list'),
))
def test_more_than_named_tensors(tmp_path, content, told):
    torch.save(content, tmp_path / 'a.pth')
    said = refused(read_weights, tmp_path / 'a.pth')
    assert 'not a plain dict of tensors' in said and told in said


@pytest.mark.parametrize('part', (VAE, T5, DIT))
@pytest.mark.parametrize('damage, told', (
    (lambda t: t.long(), 'is int64'),
    (lambda t: t.to(torch.float8_e4m3fn), 'is float8_e4m3fn without'),
    (lambda t: t.fill_(torch.nan), 'holds NaN'),
    (lambda t: t.to(torch.complex64), 'is complex64'),
))
def test_every_network_refuses_damage(copy, part, damage, told):
    path = copy / part
    tensors = dict(load_file(path) if part == DIT else torch.load(path))
    key = sorted(tensors)[-1]
    write(path, tensors | {key: damage(tensors[key].clone())})
    load = {
        VAE: lambda: WanVAE(vae_pth=path, device='cpu'),
        T5: lambda: T5EncoderModel(8, torch.float32, 'cpu', path,
                                   copy / CONFIG.t5_tokenizer),
        DIT: lambda: WanModel.from_pretrained(copy, torch.bfloat16),
    }[part]
    said = refused(load)
    assert said.startswith(f'{path}: {key} {told}')


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('suffix', ('.pth', '.safetensors'))
def test_fuzzed_weights_load_or_are_refused(tmp_path, suffix):
    draw, stop = random.Random(17), time.monotonic() + 1.5
    path = write(tmp_path / f'a{suffix}', state())
    good, refusals = path.read_bytes(), 0
    for _ in range(1000):
        if time.monotonic() > stop:
            break
        path.unlink()
        path.write_bytes(mutated(good, draw))
        try:
            model = load_weights(net(), path, torch.float32)
        except CheckpointError as error:
            refusals += 1
            assert '\n' not in str(error) and path.name in str(error)
        else:
            assert all(v.isfinite().all() for v in model.state_dict().values())
    assert refusals > 20
