r"""What the transformer promises: batches, precision, errors, files."""
import pytest
import torch
from safetensors.torch import load_file

from tests.goldens import relative_error
from tests.modules.dit import load, sample, traced
from wan.modules.model import WanModel, WanSelfAttention
from wan.utils.checkpoint import CheckpointError


@pytest.fixture(scope='module')
def t2v():
    return load('dit_t2v')


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


def test_overwriting_leaves_the_gradients_right(monkeypatch):
    def gradients():
        model = load('dit_i2v')
        with torch.enable_grad():
            model(**sample('dit_i2v_b1'))[0].square().mean().backward()
        return {n: p.grad for n, p in model.named_parameters()}

    got = gradients()
    monkeypatch.setattr(
        'wan.modules.blocks.modulate',
        lambda x, scale, shift: x * (1 + scale) + shift)
    monkeypatch.setattr(
        'wan.modules.blocks.InplaceGELU.forward', torch.nn.GELU.forward)
    monkeypatch.setattr(
        'wan.modules.model.WanRMSNorm.forward',
        lambda self, x: self.weight * x * torch.rsqrt(
            x.square().mean(-1, keepdim=True) + self.eps))
    for name, want in gradients().items():
        assert relative_error(got[name], want) < 1e-4, name


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
