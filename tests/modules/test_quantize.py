r"""Weights in 8 bits: codes, scales, and a network that computes with them."""
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file
from torch._dynamo.testing import CompileCounter

from wan.modules.model import WanModel
from wan.modules.quantize import KINDS, Quantized, packing, quantized
from wan.utils.checkpoint import load_weights

DTYPES = [torch.float32, torch.bfloat16]


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('dtype', DTYPES)
def test_int8_is_within_half_a_step(dtype):
    weight = randn(5, 64) * torch.tensor([1e-4, .1, 1., 30., 0.])[:, None]
    packed = quantized(weight, 'int8', dtype)
    assert packed.dtype == dtype and packed.codes.dtype == torch.int8
    step = weight.abs().amax(1, keepdim=True) / 127
    error = (packed.product().float() - weight).abs()
    # A scale is rounded to the dtype, and so is the product.
    slack = weight.abs().amax(1, keepdim=True) * torch.finfo(dtype).eps
    assert (error <= .5 * step + slack).all()
    assert (packed.product()[4] == 0).all()


@pytest.mark.parametrize('dtype', DTYPES)
def test_fp8_is_within_its_mantissa(dtype):
    weight = randn(4, 64) * torch.tensor([1e-3, .1, 1., 30.])[:, None]
    packed = quantized(weight, 'fp8', dtype)
    got = packed.product().float()
    assert got.isfinite().all()
    normal = weight.abs() > weight.abs().amax(1, keepdim=True) * 2**-14
    assert ((got - weight).abs() <= weight.abs() * 2**-3)[normal].all()


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_exact_comes_back_exactly(kind):
    r"""Powers of two, up to the largest code's."""
    codes = torch.tensor([[1., 2., -4., KINDS[kind][1]], [0., 0., 0., 0.]])
    assert torch.equal(
        quantized(codes * 2, kind, torch.bfloat16).product().float(),
        (codes * 2).bfloat16().float())


def test_it_is_a_tensor_of_its_dtype_to_all_that_asks():
    packed = quantized(randn(6, 8), 'int8', torch.bfloat16)
    assert packed.shape == (6, 8) and packed.device.type == 'cpu'
    assert packed.stored_bytes == 6 * 8 + 6 * 2
    product = packed.product()
    assert torch.equal(packed + 0, product)
    assert not isinstance(packed + 0, Quantized)
    assert packed.to(torch.float32).dtype == torch.float32
    x = randn(3, 8).bfloat16()
    assert torch.equal(F.linear(x, packed), F.linear(x, product))


def test_moving_keeps_it_in_8_bits():
    layer = nn.Linear(8, 6, bias=False)
    layer.weight = nn.Parameter(
        quantized(layer.weight.data, 'int8', torch.float32),
        requires_grad=False)
    layer.cpu()
    assert isinstance(layer.weight, Quantized)
    layer.to('meta')
    assert isinstance(layer.weight, Quantized)
    assert layer.weight.codes.device.type == 'meta'
    assert layer.weight.codes.dtype == torch.int8
    y = layer(torch.empty(2, 8, device='meta'))
    assert y.device.type == 'meta' and y.shape == (2, 6)


SIZES = dict(text_len=6, dim=24, ffn_dim=32, freq_dim=16, text_dim=8,
             num_heads=2, num_layers=2)


def build():
    torch.manual_seed(0)
    model = WanModel(**SIZES).eval().requires_grad_(False)
    torch.nn.init.normal_(model.head.head.weight, std=.1)
    return model


def arguments():
    return dict(x=[randn(16, 2, 4, 6)], t=torch.full((1,), 700.),
                context=[randn(4, 8)], seq_len=12)


@pytest.mark.parametrize('kind, most', [('int8', .02), ('fp8', .1)])
@pytest.mark.parametrize('dtype', DTYPES)
def test_a_network_loads_and_runs_in_8_bits(kind, most, dtype, tmp_path):
    plain = build()
    save_file(plain.state_dict(), tmp_path / 'a.safetensors')
    with torch.device('meta'):
        empty = WanModel(**SIZES)
    model = load_weights(empty, tmp_path / 'a.safetensors', dtype,
                         pack=packing(kind, dtype))
    held = {name: isinstance(p, Quantized)
            for name, p in model.named_parameters()}
    assert held['blocks.1.ffn.0.weight']
    assert held['blocks.0.cross_attn.k.weight']
    assert not held['blocks.0.ffn.0.bias'] and not held['head.head.weight']
    assert not held['blocks.0.modulation']
    assert not held['text_embedding.0.weight']
    assert list(model.state_dict()) == list(plain.state_dict())
    want, got = plain(**arguments())[0], model(**arguments())[0]
    error = (got - want).square().mean().sqrt() / want.square().mean().sqrt()
    assert 0 < error < most + .02 * (dtype == torch.bfloat16)


def test_a_network_in_8_bits_is_one_graph(tmp_path):
    model = build()
    save_file(model.state_dict(), tmp_path / 'a.safetensors')
    with torch.device('meta'):
        empty = WanModel(**SIZES)
    model = load_weights(empty, tmp_path / 'a.safetensors', torch.float32,
                         pack=packing('int8', torch.float32))
    want = model(**arguments())[0]
    torch._dynamo.reset()
    counter = CompileCounter()
    for block in model.blocks:
        block.compile(backend=counter, fullgraph=True)
    torch.testing.assert_close(model(**arguments())[0], want)
    assert counter.frame_count == 1
    torch._dynamo.reset()


def test_none_packs_nothing():
    assert packing('none', torch.float32) is None
