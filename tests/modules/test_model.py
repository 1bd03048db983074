r"""The transformer against recorded numbers and its own promises."""
import pytest
import torch
from safetensors.torch import load_file

from tests import goldens
from tests.goldens import relative_error
from wan.modules import model as module
from wan.modules.attention import attention
from wan.modules.model import (
    TextContext,
    WanModel,
    WanSelfAttention,
    rope_apply,
    rope_params,
    rotate,
    sinusoidal_embedding_1d,
)
from wan.utils.checkpoint import CheckpointError

MODELS = ('dit_t2v', 'dit_t2v_no_norms', 'dit_i2v', 'dit_flf2v')


def load(name, dtype=torch.float32):
    r"""A recorded network; a half `dtype` spares what must stay float32."""
    kwargs, state = goldens.weights(name)
    model = WanModel(**kwargs).eval()
    model.load_state_dict(state)
    for key, parameter in model.named_parameters():
        if not set(model._keep_in_fp32_modules) & set(key.split('.')):
            parameter.data = parameter.data.to(dtype)
    return model


@pytest.fixture(scope='module')
def t2v():
    return load('dit_t2v')


def sample(case='dit_t2v_b1'):
    r"""Keyword arguments of a recorded forward."""
    params, inputs, _ = goldens.case(case)
    y = goldens.listed(inputs, 'y')
    return dict(
        x=goldens.listed(inputs, 'x'), t=inputs['t'],
        context=goldens.listed(inputs, 'context'), seq_len=params['seq_len'],
        clip_fea=inputs.get('clip_fea'), y=y or None)


def traced(model, names):
    r"""What the submodules of a trace return, filled in by a forward."""
    seen = {}
    for name in names:
        path = name.replace('block', 'blocks.', 1) \
            if name.startswith('block') else name
        model.get_submodule(path).register_forward_hook(
            lambda m, args, out, name=name: seen.update({name: out}))
    return seen


# recorded numbers


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
    parity(f'dit {case}', max(map(relative_error, got, outs)))
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
    parity(f'dit {case}, trace (worst: {worst})', errors[worst])


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
    rotation = module._rotation(x, grid, t2v.freqs)
    assert rotation.shape == (2, 20, 1, 12)
    assert torch.equal(
        attn(x, lens, grid, t2v.freqs), attn(x, lens, grid, rotation))


def test_rotation_is_made_once_per_shape(t2v):
    module.rotation_table.cache_clear()
    for _ in range(3):
        t2v(**sample())
    assert module.rotation_table.cache_info().misses == 1
    table = module.rotation_table(((1, 2, 3),), t2v.freqs, 6, 'cpu')
    with torch.inference_mode():
        inferred = module.rotation_table(((3, 2, 1),), t2v.freqs, 6, 'cpu')
    assert not table.is_inference() and not inferred.is_inference()


# batches and padding


def one_by_one(model, arguments):
    count = len(arguments['x'])
    return [
        model(**{
            k: v if k == 'seq_len' or v is None else v[i:i + 1]
            for k, v in arguments.items()})[0] for i in range(count)]


@pytest.mark.parametrize('case', (
    'dit_t2v_tvalues', 'dit_t2v_b2_ragged', 'dit_i2v_b2_ragged'))
def test_batch_equals_singles(case):
    model = load(case[:7])
    arguments = sample(case)
    got = model(**arguments)
    for one, other in zip(
            got, one_by_one(model, arguments), strict=True):
        assert relative_error(one, other) < 2e-6


@pytest.mark.parametrize('case', ('dit_t2v_b1', 'dit_t2v_b2_ragged'))
def test_longer_seq_len_changes_nothing(t2v, case):
    arguments = sample(case)
    longer = {**arguments, 'seq_len': arguments['seq_len'] + 37}
    for one, other in zip(t2v(**arguments), t2v(**longer), strict=True):
        assert relative_error(one, other) < 1e-6


def test_rerun_is_bit_equal(t2v):
    arguments = sample('dit_t2v_b2_ragged')
    first, second = t2v(**arguments), t2v(**arguments)
    assert all(map(torch.equal, first, second))


# the text's cache


@pytest.mark.parametrize('case', ('dit_t2v_b2_ragged', 'dit_i2v_b1'))
def test_text_context_changes_nothing_and_projects_once(case, monkeypatch):
    model = load(case[:7])
    arguments = sample(case)
    plain = model(**arguments)
    calls = []
    kind = type(model.blocks[0].cross_attn)
    real = kind.keys_values
    monkeypatch.setattr(
        kind, 'keys_values',
        lambda self, context: calls.append(self) or real(self, context))
    arguments['context'] = cache = TextContext(arguments['context'])
    first = model(**arguments)
    sizes = [t.numel() for kv in cache.projected.values() for t in kv]
    later = [model(**{**arguments, 't': arguments['t'] / n}) for n in (2, 3)]
    again = model(**arguments)
    for result in (first, again):
        assert all(map(torch.equal, result, plain))
    assert not torch.equal(later[0][0], plain[0])
    assert len(calls) == len(model.blocks) == len(set(calls))
    tokens = cache.embedded.size(1)
    assert sum(sizes) == \
        2 * len(model.blocks) * len(cache) * tokens * model.dim
    assert sizes == [t.numel() for kv in cache.projected.values() for t in kv]


def test_text_context_observes_the_queries(t2v):
    seen = []

    class Watching(TextContext):
        def observe(self, attn, q):
            seen.append((attn, q.shape))

    arguments = sample()
    t2v(**{**arguments, 'context': Watching(arguments['context'])})
    assert [a for a, _ in seen] == [b.cross_attn for b in t2v.blocks]
    assert {tuple(s) for _, s in seen} == {(1, 72, 4, 24)}


# reference slots


class Capture:
    r"""A slot that keeps what it is shown and changes nothing."""

    def __init__(self):
        self.calls = []

    def __call__(self, q, k, v, x, grid_sizes, rotation):
        self.calls.append((q, k, v, x, grid_sizes, rotation))
        return x


def test_no_slot_changes_nothing(t2v):
    arguments = sample()
    plain = t2v(**arguments)[0]
    assert torch.equal(t2v(**arguments, ref=None)[0], plain)
    assert torch.equal(t2v(**arguments, ref=[None] * 3)[0], plain)


def test_capturing_slot_sees_normed_unrotated_tokens(t2v):
    arguments = sample()
    plain = t2v(**arguments)[0]
    inputs, norms = [], []
    attn = t2v.blocks[1].self_attn
    hooks = [
        attn.register_forward_pre_hook(
            lambda m, args: inputs.append(args[0])),
        attn.norm_k.register_forward_hook(
            lambda m, args, out: norms.append(out)),
    ]
    slots = [Capture(), Capture(), None]
    assert torch.equal(t2v(**arguments, ref=slots)[0], plain)
    for hook in hooks:
        hook.remove()
    assert [len(s.calls) for s in slots[:2]] == [1, 1]
    q, k, v, x, grid_sizes, rotation = slots[1].calls[0]
    assert {u.shape for u in (q, k, v, x)} == {(1, 72, 4, 24)}
    assert torch.equal(k.flatten(2), norms[0])
    assert torch.equal(v.flatten(2), attn.v(inputs[0]))
    assert grid_sizes.tolist() == [[3, 4, 6]]
    assert rotation.shape == (1, 72, 1, 12)


@pytest.mark.parametrize('c', (.2, .5, 1.))
def test_replaying_own_keys_and_values_gives_the_plain_output(t2v, c):
    arguments = sample()
    captures = [Capture() for _ in t2v.blocks]
    plain = t2v(**arguments, ref=captures)[0]

    def replay(capture):
        _, k, v, *_ = capture.calls[0]

        def slot(q, k_now, v_now, x, grid_sizes, rotation):
            read = attention(rotate(q, rotation), rotate(k, rotation), v)
            return x + c * (read - x)

        return slot

    got = t2v(**arguments, ref=[replay(s) for s in captures])[0]
    assert relative_error(got, plain) < 1e-5
    other = [
        lambda q, k, v, x, grid_sizes, rotation: x + c * (v - x)
    ] * len(t2v.blocks)
    assert relative_error(t2v(**arguments, ref=other)[0], plain) > 1e-3


# precision


@pytest.mark.parametrize('name', ('dit_t2v', 'dit_i2v'))
def test_half_precision_is_near_and_autocast_does_the_same(name):
    arguments = sample(f'{name}_b1')
    full = load(name)
    want = full(**arguments)[0]
    half = load(name, torch.bfloat16)(**arguments)[0]
    with torch.autocast('cpu', torch.bfloat16):
        cast = full(**arguments)[0]
    assert half.dtype == cast.dtype == torch.float32
    assert 1e-5 < relative_error(half, want) < 3e-2
    assert relative_error(half, cast) < 1e-2


def test_residual_stream_time_and_head_stay_float32_under_autocast(t2v):
    model = load('dit_t2v')
    seen = traced(
        model, ('time_embedding', 'time_projection', 'block0', 'head'))
    with torch.autocast('cpu', torch.bfloat16):
        model(**sample())
    assert {u.dtype for u in seen.values()} == {torch.float32}
    clean = traced(t2v, ('time_projection',))
    t2v(**sample())
    assert torch.equal(seen['time_projection'], clean['time_projection'])


def test_gradients_reach_every_parameter():
    model = load('dit_i2v')
    with torch.enable_grad():
        model(**sample('dit_i2v_b1'))[0].square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


# errors


@pytest.mark.parametrize('changed, message', (
    ({'seq_len': 71}, '72 tokens.*71'),
    ({'context': [torch.zeros(33, 48)]}, '33 tokens.*32'),
))
def test_too_long(t2v, changed, message):
    with pytest.raises(ValueError, match=message):
        t2v(**{**sample(), **changed})


def test_too_long_in_a_ragged_batch(t2v):
    with pytest.raises(ValueError, match='60 tokens.*59'):
        t2v(**{**sample('dit_t2v_b2_ragged'), 'seq_len': 59})


@pytest.mark.parametrize('name', ('clip_fea', 'y'))
def test_image_models_need_their_image(name):
    with pytest.raises(ValueError, match='i2v needs clip_fea and y'):
        load('dit_i2v')(**{**sample('dit_i2v_b1'), name: None})


def test_impossible_sizes():
    with pytest.raises(ValueError, match='100.*3 heads'):
        WanSelfAttention(100, 3)
    with pytest.raises(ValueError, match="'v2v'.*t2v, i2v"):
        WanModel(model_type='v2v')


# files


def small(**kwargs):
    return WanModel(**dict(
        dim=48, ffn_dim=64, freq_dim=32, text_dim=20, text_len=12,
        num_heads=2, num_layers=2) | kwargs).eval()


@pytest.mark.parametrize('shard', ('10GB', '50KB'))
def test_save_and_load(tmp_path, shard, caplog):
    model = small(qk_norm=False, patch_size=(1, 2, 4))
    model.save_pretrained(tmp_path, max_shard_size=shard)
    files = list(tmp_path.glob('*.safetensors'))
    assert len(files) == 1 if shard == '10GB' else len(files) > 1
    loaded = WanModel.from_pretrained(tmp_path)
    assert not caplog.records
    assert loaded.patch_size == (1, 2, 4) and not loaded.qk_norm
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    g = torch.Generator().manual_seed(0)
    arguments = dict(
        x=[torch.randn(16, 2, 4, 8, generator=g)], t=torch.tensor([500]),
        context=[torch.randn(5, 20, generator=g)], seq_len=8)
    assert torch.equal(loaded(**arguments)[0], model(**arguments)[0])


def test_load_in_half_precision_spares_norms_and_modulation(tmp_path):
    small().save_pretrained(tmp_path)
    loaded = WanModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    dtypes = {k: v.dtype for k, v in loaded.state_dict().items()}
    assert dtypes['blocks.0.self_attn.q.weight'] == torch.bfloat16
    assert dtypes['patch_embedding.weight'] == torch.bfloat16
    for key in ('blocks.1.modulation', 'head.head.weight', 'head.modulation',
                'time_embedding.0.bias', 'blocks.0.cross_attn.norm_k.weight',
                'blocks.0.norm3.bias'):
        assert dtypes[key] == torch.float32
    stored = load_file(tmp_path / 'diffusion_pytorch_model.safetensors')
    assert torch.equal(
        loaded.blocks[0].ffn[2].weight,
        stored['blocks.0.ffn.2.weight'].bfloat16())


def test_load_from_nowhere(tmp_path):
    with pytest.raises(CheckpointError, match='config.json'):
        WanModel.from_pretrained(tmp_path / 'nowhere')


def test_fresh_network_predicts_zero():
    model = small()
    g = torch.Generator().manual_seed(0)
    out = model(
        [torch.randn(16, 1, 4, 4, generator=g)], torch.tensor([10]),
        [torch.randn(3, 20, generator=g)], 4)[0]
    assert not out.any()
    assert model.text_embedding[0].weight.std() < .03
    assert not model.blocks[0].ffn[0].bias.any()
