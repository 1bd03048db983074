r"""What torch.compile sees: one graph for all blocks, none broken."""
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from wan.modules.model import WanModel
from wan.refdrop.bank import Reference
from wan.refdrop.config import RefConfig
from wan.refdrop.reading import reading_slots

GRID, DEPTH = (2, 2, 3), 10  # deeper than dynamo's limit of recompilations


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    model = WanModel(
        text_len=6, dim=24, ffn_dim=32, freq_dim=16, text_dim=8, num_heads=2,
        num_layers=DEPTH).eval()
    # The head starts at zero, which every velocity would equal.
    torch.nn.init.normal_(model.head.head.weight, std=.1)
    return model


@pytest.fixture
def counter():
    torch._dynamo.reset()
    yield CompileCounter()
    torch._dynamo.reset()


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def slots(reads, **settings):
    reference = Reference(
        tuple(draw(DEPTH, 1, 6, 2, 12)), tuple(draw(DEPTH, 1, 6, 2, 12)),
        (1, 2, 3), torch.arange(6) < 4)
    mask = torch.arange(12) % 3 > 0
    settings = {'ref_c': (.4,), **settings}
    return reading_slots(
        [reference], RefConfig(**settings), reads, GRID, mask,
        torch.tensor([[0, 0, 2, 2]] * 2))


def arguments(model, batch=1):
    return dict(
        x=list(draw(batch, 16, 2, 4, 6)), t=torch.full((batch,), 700.),
        context=model.project_text([draw(4, 8)] * batch), seq_len=12)


CASES = {
    'plain': lambda: None,
    'reading': lambda: slots([True]),
    'box': lambda: slots([True], ref_rope='box', ref_stats='norm'),
    'joint': lambda: slots([True], ref_rope='tail', ref_gate='joint'),
}


@pytest.mark.parametrize('case', CASES)
def test_all_blocks_are_one_graph(model, counter, case):
    r"""With the text's cache and reading slots on."""
    given, ref = arguments(model), CASES[case]()
    want = model(**given, ref=ref)[0]
    for block in model.blocks:
        block.compile(backend=counter, fullgraph=True)
    try:
        got = model(**given, ref=ref)[0]
        # And no other for another timestep, or a prompt of another bank.
        model(**{**given, 't': given['t'] / 2}, ref=CASES[case]())
    finally:
        for block in model.blocks:
            block._compiled_call_impl = None
    torch.testing.assert_close(got, want)
    assert counter.frame_count == 1


@pytest.mark.parametrize('ref', [None, [True], [False, True]])
def test_the_whole_forward_has_no_graph_break(model, counter, ref):
    given = arguments(model, 2 if ref == [False, True] else 1)
    ref = None if ref is None else slots(ref)
    want = model(**given, ref=ref)
    whole = torch.compile(model, backend=counter, fullgraph=True)
    for got, expected in zip(whole(**given, ref=ref), want, strict=True):
        torch.testing.assert_close(got, expected)
    assert counter.frame_count == 1
