r"""The controlled transformer: recorded numbers, diffusers, joints."""
import pytest
import torch
from diffusers import WanVACETransformer3DModel
from torch._dynamo.testing import CompileCounter

from tests import goldens
from tests.goldens import relative_error
from tests.modules import test_model_diffusers as theirs
from tests.modules.dit import (
    load,
    sample,
    small_sample,
    small_vace,
    traced,
)
from wan.modules.attention import attention
from wan.modules.blocks import WanAttentionBlock
from wan.modules.model import TextKV, WanModel
from wan.modules.vace_model import VaceWanModel

CASES = goldens.case_ids('dit', 'dit_vace')


@pytest.fixture(scope='module')
def vace():
    return load('dit_vace')


@pytest.fixture(scope='module')
def t2v(vace):
    r"""The main blocks alone."""
    kwargs, state = goldens.weights('dit_vace')
    kwargs = {k: v for k, v in kwargs.items() if not k.startswith('vace')}
    model = WanModel(**kwargs | {'model_type': 't2v'}).eval()
    model.load_state_dict(
        {k: v for k, v in state.items() if not k.startswith('vace')})
    return model


@pytest.mark.parametrize('text', ('context', 'projected'))
@pytest.mark.parametrize('case', CASES)
def test_recorded_numbers(vace, case, text, parity):
    arguments = sample(case)
    if text == 'projected':
        arguments['context'] = vace.project_text(arguments['context'])
    got = vace(**arguments)
    want = goldens.listed(goldens.case(case)[2], 'out')
    assert all(u.dtype == torch.float32 for u in got)
    parity(f'{case}, {text}', max(map(relative_error, got, want)), 1e-5)


def test_recorded_trace(parity):
    case = 'dit_vace_scale1'
    want = {k[6:]: v for k, v in goldens.case(case)[2].items()
            if k.startswith('trace.')}
    model = load('dit_vace')
    seen = traced(model, [k for k in want if not k.startswith('vace_hint')])
    model(**sample(case))
    for n in range(2):
        seen[f'vace_block{n}'], seen[f'vace_hint{n}'] = \
            seen[f'vace_block{n}']
    errors = {k: relative_error(seen[k], v) for k, v in want.items()}
    worst = max(errors, key=errors.get)
    parity(f'{case}, trace (worst: {worst})', errors[worst], 1e-5)


@pytest.mark.parametrize('name', ('vace-1.3B', 'vace-14B'))
def test_official_keys_and_shapes_in_order(name):
    kwargs = goldens.table('state_dicts')['models'][name]['constructor_kwargs']
    with torch.device('meta'):
        model = VaceWanModel(**kwargs)
    got = [(k, list(v.shape)) for k, v in model.state_dict().items()]
    assert got == list(goldens.expected_state(name).items())
    if name == 'vace-1.3B':
        kwargs.pop('vace_layers')  # every second one
        with torch.device('meta'):
            assert VaceWanModel(**kwargs).vace_layers == model.vace_layers


def test_no_block_is_built_twice(monkeypatch):
    built = []
    build = WanAttentionBlock.__init__
    monkeypatch.setattr(
        WanAttentionBlock, '__init__',
        lambda self, *args: built.append(args[0]) or build(self, *args))
    small_vace(num_layers=5)
    assert built == ['t2v_cross_attn'] * (5 + 3)


def test_same_as_diffusers(parity):
    torch.manual_seed(0)
    layers, width = [0, 2], theirs.HEADS * theirs.HEAD_DIM
    other = WanVACETransformer3DModel(
        num_attention_heads=theirs.HEADS, attention_head_dim=theirs.HEAD_DIM,
        in_channels=16, text_dim=theirs.TEXT_DIM, freq_dim=theirs.FREQ_DIM,
        ffn_dim=theirs.FFN, num_layers=4, vace_layers=layers,
        vace_in_channels=96).eval()
    for parameter in other.parameters():
        parameter.add_(torch.randn_like(parameter) * .05)
    with torch.device('meta'):
        ours = VaceWanModel(
            layers, 96, dim=width, ffn_dim=theirs.FFN,
            freq_dim=theirs.FREQ_DIM, text_dim=theirs.TEXT_DIM,
            num_heads=theirs.HEADS, num_layers=4)
    more = {'vace_patch_embedding': 'vace_patch_embedding',
            'vace_blocks.0.before_proj': 'vace_blocks.0.proj_in'} | {
        f'vace_blocks.{n}.after_proj': f'vace_blocks.{n}.proj_out'
        for n in range(2)}
    ours.load_state_dict(theirs.our_keys(
        other.state_dict(), (('blocks', 4), ('vace_blocks', 2)), more),
        assign=True)
    x, control = torch.randn(2, 16, 3, 6, 10), torch.randn(2, 96, 3, 6, 10)
    text = torch.randn(2, theirs.TOKENS, theirs.TEXT_DIM)
    text[1, 9:] = 0
    t = torch.tensor([999., 12.5])
    want = other(x, t, text, None, control, torch.full((2,), .7)).sample
    got = ours(list(x), t, list(control), [text[0], text[1, :9]], 45, .7)
    parity('dit vace against diffusers', relative_error(
        torch.stack(got), want))


# without a control


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('text', ('context', 'projected'))
def test_without_a_control_it_is_t2v(vace, t2v, case, text):
    arguments = sample(case) | {'vace_context': None}
    plain = {k: v for k, v in arguments.items() if not k.startswith('vace')}
    if text == 'projected':
        arguments['context'] = vace.project_text(arguments['context'])
        plain['context'] = t2v.project_text(plain['context'])
    got, want = vace(**arguments), t2v(**plain)
    assert all(map(torch.equal, got, want))
    silent = vace(**sample(case) | {'vace_context_scale': 0.})
    assert max(map(relative_error, silent, want)) < 1e-6
    loud = vace(**sample(case))
    assert min(map(relative_error, loud, want)) > 1e-2


def test_fresh_controls_say_nothing():
    model = small_vace()
    g = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(model.head.head.weight, std=.1, generator=g)
    given = small_sample(model)
    plain = model(**given | {'vace_context': None})[0]
    assert plain.abs().max() > .01
    assert torch.equal(model(**given)[0], plain)


# the joints


def test_tokens_carry_the_control(vace):
    given = sample('dit_vace_scale05')
    tokens = vace.embed(
        given['x'], given['t'], given['seq_len'], None,
        given['vace_context'], .5)
    assert tokens.control.shape == tokens.x.shape
    assert tokens.control_scale == .5
    text = vace.project_text(given['context'])
    out = vace.unpatchify(
        vace.head(vace.run_blocks(tokens, text), tokens.e), tokens.grids)
    assert torch.equal(out[0], vace(**given)[0])
    plain = vace.embed(given['x'], given['t'], given['seq_len'])
    assert plain.control is None


def test_text_of_both_rows_is_projected(vace):
    given = sample()['context'][0][:, :40]
    text = vace.project_text([given])
    assert len(text.blocks) == len(vace.blocks) + len(vace.vace_blocks) == 6
    # Each row reads its own: another text there is another result.
    arguments = sample('dit_vace_scale1')
    right = vace.project_text(arguments['context'])
    want = vace(**arguments | {'context': right})[0]
    for part in (slice(0, 4), slice(4, 6)):
        blocks = list(right.blocks)
        blocks[part] = text.blocks[part]
        got = vace(**arguments | {'context': TextKV(tuple(blocks))})[0]
        assert relative_error(got, want) > 1e-4


def test_slots_are_of_the_main_blocks(vace):
    arguments = sample('dit_vace_scale1')
    plain = vace(**arguments)[0]
    seen = []

    def ref(q, k, v, x, q_rotated, k_rotated):
        seen.append(q)
        return x + 0. * (v - x)

    def cross(q, k, v, x):
        seen.append(q)
        return x

    assert torch.equal(vace(**arguments, ref=[ref] * 4)[0], plain)
    assert torch.equal(vace(**arguments, cross=[cross] * 4)[0], plain)
    assert len(seen) == 8
    half = [lambda q, k, v, x, *_: x + .5 * (v - x), None, None, None]
    assert relative_error(vace(**arguments, ref=half)[0], plain) > 1e-3


def test_every_attention_goes_through_attend(vace):
    arguments, calls = sample('dit_vace_scale1'), []

    def attend(*args, **kwargs):
        calls.append(args[1].size(1))
        return attention(*args, **kwargs)

    got = vace(**arguments, attend=attend)[0]
    assert torch.equal(got, vace(**arguments)[0])
    # Before main blocks 0 and 2 one of the control's.
    assert calls == [36, 24] * 6


def test_half_precision_is_near():
    arguments = sample('dit_vace_scale1')
    full = load('dit_vace')
    want = full(**arguments)[0]
    half = load('dit_vace', torch.bfloat16)(**arguments)[0]
    with torch.autocast('cpu', torch.bfloat16):
        cast = full(**arguments)[0]
    assert half.dtype == cast.dtype == torch.float32
    assert 1e-5 < relative_error(half, want) < 3e-2
    assert relative_error(half, cast) < 1e-2


def test_gradients_reach_every_parameter():
    model = load('dit_vace')
    with torch.enable_grad():
        model(**sample('dit_vace_scale1'))[0].square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_each_row_is_one_graph():
    r"""The first control block, which joins the rows, is one of its own."""
    model = small_vace(num_layers=24)  # 12 hints: more than dynamo recompiles
    given = small_sample(model)
    given['context'] = model.project_text(given['context'])
    counter = CompileCounter()
    torch._dynamo.reset()
    want = model(**given)[0]
    for block in (*model.blocks, *model.vace_blocks):
        block.compile(backend=counter, fullgraph=True)
    got = model(**given)[0]
    torch.testing.assert_close(got, want)
    # Main blocks with a hint and without, the first control block, the rest.
    assert counter.frame_count == 4
    torch._dynamo.reset()


# errors


@pytest.mark.parametrize('shapes', (
    [(96, 3, 6, 6)], [(16, 3, 6, 8)], [(96, 3, 6, 8)] * 2, []))
def test_controls_that_do_not_fit(vace, shapes):
    control = [torch.zeros(shape) for shape in shapes]
    with pytest.raises(ValueError, match=r'must be of \[\(96, 3, 6, 8\)\]'):
        vace(**sample('dit_vace_scale1') | {'vace_context': control})


@pytest.mark.parametrize('layers', (
    [], [1, 2], [0, 2, 1], [0, 0], [0, 4], [-1, 0], [0, 1, 1]))
def test_impossible_layers(layers):
    with pytest.raises(ValueError, match='a rising list of .* with 0'):
        small_vace(layers)


def test_classes_keep_to_their_types():
    with pytest.raises(ValueError, match="'vace' of a WanModel; allowed: t2v"):
        WanModel(model_type='vace')
    with pytest.raises(ValueError, match="'t2v' of a Vace.*; allowed: vace"):
        small_vace(model_type='t2v')
