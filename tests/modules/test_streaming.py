r"""Blocks that come and go: the same numbers, and weights left where they
were."""
import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from wan.modules.model import WanModel
from wan.modules.quantize import quantized
from wan.modules.streaming import StreamedBlocks, each, parts, stream_blocks
from wan.modules.t5 import T5Encoder
from wan.modules.vace_model import VaceWanModel

CPU, META = torch.device('cpu'), torch.device('meta')
SIZES = dict(text_len=6, dim=24, ffn_dim=32, freq_dim=16, text_dim=8,
             num_heads=2, num_layers=3)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def build(kind=WanModel, **more):
    torch.manual_seed(0)
    model = kind(**SIZES, **more).eval().requires_grad_(False)
    torch.nn.init.normal_(model.head.head.weight, std=.1)
    return model


def arguments(model):
    return dict(x=[randn(16, 2, 4, 6)], t=torch.full((1,), 700.),
                context=model.project_text([randn(4, 8)]), seq_len=12)


def test_the_same_bits():
    model = build()
    streamed = stream_blocks(copy.deepcopy(model), CPU)
    assert torch.equal(streamed(**arguments(streamed))[0],
                       model(**arguments(model))[0])
    assert list(streamed.state_dict()) == list(model.state_dict())


def test_the_same_bits_with_a_control():
    model = build(VaceWanModel, model_type='vace')
    streamed = stream_blocks(copy.deepcopy(model), CPU)
    assert isinstance(streamed.vace_blocks, StreamedBlocks)
    control = [randn(16, 2, 4, 6, seed=1)]
    got, want = (m(**arguments(m), vace_context=control)[0]
                 for m in (streamed, model))
    assert torch.equal(got, want)


def test_the_same_bits_of_a_text_encoder():
    torch.manual_seed(0)
    model = T5Encoder(20, 16, 16, 24, 2, 3, 8, shared_pos=False).eval()
    streamed = stream_blocks(copy.deepcopy(model), CPU)
    ids = torch.arange(7)[None]
    assert torch.equal(streamed(ids), model(ids))


def test_two_blocks_are_there_at_a_time():
    r"""Each block while it is walked over; the next is on its way."""
    blocks = StreamedBlocks(
        [torch.nn.Linear(2, 2) for _ in range(4)], META)
    devices = []
    for _ in blocks:
        devices.append([p.weight.device.type for p in blocks._modules.values()])
    assert devices == [
        ['meta' if i == j else 'cpu' for j in range(4)] for i in range(4)]
    assert all(p.device == CPU for p in blocks.parameters())


def test_weights_go_back_when_a_walk_is_broken_off():
    blocks = StreamedBlocks([torch.nn.Linear(2, 2) for _ in range(3)], META)
    for _ in blocks:
        break
    walk = iter(blocks)
    next(walk)
    walk.close()
    assert all(p.device == CPU for p in blocks.parameters())
    assert [p.data_ptr() for p in blocks.parameters()] == [
        w.data_ptr() for weights in blocks.host for _, _, w in weights]


def test_to_move_the_network_leaves_the_blocks():
    model = stream_blocks(build(), META).to('meta')
    assert model.head.head.weight.device == META
    assert all(p.device == CPU for p in model.blocks.parameters())


def test_the_whole_forward_is_on_the_device():
    r"""What mixes the two memories would raise."""
    model = stream_blocks(build(), META).to('meta')
    model.freqs = model.freqs.to('meta')
    given = dict(x=[torch.empty(16, 2, 4, 6, device=META)],
                 t=torch.empty(1, device=META), seq_len=12,
                 context=model.project_text([torch.empty(4, 8, device=META)]))
    out = model(**given)[0]
    assert out.device == META and out.shape == (16, 2, 4, 6)


def test_quantized_weights_are_streamed_in_8_bits():
    layer = torch.nn.Linear(4, 3)
    layer.weight = torch.nn.Parameter(
        quantized(layer.weight.data, 'int8', torch.float32),
        requires_grad=False)
    want = layer(randn(2, 4))
    assert [p.dtype for p in parts(layer.weight)] == [
        torch.int8, torch.float32]
    assert each(torch.clone, layer.weight).codes.dtype == torch.int8
    for block in StreamedBlocks([layer], CPU):
        assert torch.equal(block(randn(2, 4)), want)


@pytest.mark.parametrize('passes', [1, 3])
def test_compiled_blocks_are_one_graph(passes):
    model = build()
    given = arguments(model)
    want = model(**given)[0]
    torch._dynamo.reset()
    counter = CompileCounter()
    for block in model.blocks:
        block.compile(backend=counter, fullgraph=True)
    stream_blocks(model, CPU)
    for _ in range(passes):
        torch.testing.assert_close(model(**given)[0], want)
    assert counter.frame_count == 1
    torch._dynamo.reset()
