r"""The transformer against recorded numbers, and positions."""
import pytest
import torch

from tests import goldens
from tests.goldens import relative_error
from tests.modules.dit import load, sample, traced
from wan.modules import rope as module
from wan.modules.model import (
    WanModel,
    rope_apply,
    rope_params,
    rotate,
    sinusoidal_embedding_1d,
)
from wan.modules.rope import rotation_of

MODELS = ('dit_t2v', 'dit_t2v_no_norms', 'dit_i2v', 'dit_flf2v')


@pytest.fixture(scope='module')
def t2v():
    return load('dit_t2v')


@pytest.mark.parametrize(
    'case', [c for m in MODELS for c in goldens.case_ids('dit', m)])
def test_forward(case, parity):
    _, _, want = goldens.case(case)
    entry = next(
        c for c in goldens.manifest()['cases'] if c['id'] == case)
    model = load(entry['models']['dit'])
    names = [k[6:] for k in want if k.startswith('trace.')]
    seen = traced(model, names)
    arguments = sample(case)
    got = model(**arguments)
    outs = goldens.listed(want, 'out')
    assert len(got) == len(outs)
    assert all(u.dtype == torch.float32 for u in got)
    parity(case, max(map(relative_error, got, outs)))
    if not names:
        return
    lengths = [u[0].numel() // 4 for u in arguments['x']]
    errors = {}
    for name in names:
        expected = want[f'trace.{name}']
        if name.startswith('block') or name == 'head':
            # Rows past a sample's length are never read.
            errors[name] = max(
                relative_error(seen[name][i, :n], expected[i, :n])
                for i, n in enumerate(lengths))
        else:
            errors[name] = relative_error(seen[name], expected)
    worst = max(errors, key=errors.get)
    parity(f'{case}, trace (worst: {worst})', errors[worst])


@pytest.mark.parametrize('case', goldens.case_ids('rope_params'))
def test_rope_params(case, parity):
    params, _, want = goldens.case(case)
    got = rope_params(params['max_seq_len'], params['dim'])
    assert got.shape == (params['max_seq_len'], params['dim'] // 2)
    assert got.dtype == torch.complex128
    got = got[:params['rows']]
    parity(case, max(relative_error(got.real, want['real']),
                     relative_error(got.imag, want['imag'])), 1e-12)


def axis_tables(d):
    return torch.cat([
        rope_params(1024, n) for n in (d - 4 * (d // 6), *[2 * (d // 6)] * 2)
    ], dim=1)


@pytest.mark.parametrize('case', goldens.case_ids('usp_rope'))
def test_rope_of_a_process_share(case, parity):
    r"""Each process's part of the tokens and of their rotations."""
    params, inputs, want = goldens.case(case)
    table = rotation_of(inputs['x'], inputs['grid_sizes'],
                        axis_tables(params['head_dim']))
    parts = zip(*(x.chunk(params['world'], dim=1)
                  for x in (inputs['x'], table)), strict=True)
    parity(case, max(
        relative_error(rotate(x, rotation, x.dtype), want[f'rank{rank}'])
        for rank, (x, rotation) in enumerate(parts)))


@pytest.mark.parametrize('case', goldens.case_ids('rope_apply'))
def test_rope_apply(case, parity):
    params, inputs, want = goldens.case(case)
    got = rope_apply(
        inputs['x'], inputs['grid_sizes'], axis_tables(params['head_dim']))
    assert got.dtype == torch.float32
    parity(case, relative_error(got, want['out']))


@pytest.mark.parametrize('case', goldens.case_ids('sinusoid'))
def test_sinusoid(case, parity):
    params, inputs, want = goldens.case(case)
    got = sinusoidal_embedding_1d(params['dim'], inputs['position'])
    assert got.dtype == torch.float64
    parity(case, relative_error(got, want['out']), 1e-12)


@pytest.mark.parametrize(
    'name', ('t2v-1.3B', 't2v-14B', 'i2v-14B', 'flf2v-14B'))
def test_official_keys_and_shapes_in_order(name):
    kwargs = goldens.table('state_dicts')['models'][name]['constructor_kwargs']
    with torch.device('meta'):
        model = WanModel(**kwargs)
    got = [(k, list(v.shape)) for k, v in model.state_dict().items()]
    assert got == list(goldens.expected_state(name).items())
    assert model.freqs.device.type == 'cpu'
    assert not list(model.buffers())


# positions


def test_rotation_is_relative():
    r"""Scores of rotated tokens depend on the difference of positions."""
    g = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 24, generator=g).double().float()
    grid = torch.tensor([[3, 4, 5]])
    q, k = (rope_apply(x.expand(1, 60, 1, 24), grid, axis_tables(24))
            for x in (q, k))
    scores = torch.einsum('blnc,bmnc->lm', q, k).view(3, 4, 5, 3, 4, 5)
    torch.testing.assert_close(
        scores[1:, 1:, 1:, 1:, 1:, 1:], scores[:-1, :-1, :-1, :-1, :-1, :-1])


def test_rope_refuses_a_grid_past_the_tables():
    with pytest.raises(ValueError, match='1025.*1024'):
        rope_apply(torch.zeros(1, 1025, 1, 12), torch.tensor([[1025, 1, 1]]),
                   axis_tables(12))


def test_self_attention_takes_the_tables_or_the_rotation(t2v):
    attn = t2v.blocks[0].self_attn
    x = torch.randn(2, 20, 96, generator=torch.Generator().manual_seed(0))
    grid = torch.tensor([[2, 2, 5], [1, 3, 4]])
    lens = torch.tensor([20, 12])
    rotation = module.rotation_of(x, grid, t2v.freqs)
    assert rotation.shape == (2, 20, 1, 12)
    assert torch.equal(
        attn(x, lens, grid, t2v.freqs), attn(x, lens, grid, rotation))


def test_tokens_past_the_grid_are_not_rotated(t2v):
    table = module.rotation_table(((1, 2, 3),), t2v.freqs, 8, 'cpu')
    assert table.shape == (1, 8, 1, 12) and table.dtype == torch.complex64
    assert torch.equal(table[:, 6:], torch.ones_like(table[:, 6:]))
    assert not torch.equal(table[:, 5], torch.ones_like(table[:, 5]))
