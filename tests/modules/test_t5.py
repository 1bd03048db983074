r"""The text encoder at recorded numbers, against transformers, and loading."""
import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import UMT5Config, UMT5EncoderModel

from tests import goldens
from wan.modules.t5 import (
    T5Attention,
    T5Encoder,
    T5EncoderModel,
    T5LayerNorm,
    T5RelativeEmbedding,
    fp16_clamp,
    umt5_xxl,
)
from wan.utils.checkpoint import CheckpointError

TINY = goldens.GOLDENS / 'tiny_tokenizer'
CASE_MODELS = {
    c['id']: c['models']['t5'] for c in goldens.manifest()['cases']
    if c['runner'] == 't5'}

# ours: theirs
PARTS = {'token_embedding': 'shared', 'norm': 'encoder.final_layer_norm'}
BLOCK_PARTS = {
    'norm1': 'layer.0.layer_norm',
    'norm2': 'layer.1.layer_norm',
    'ffn.gate.0': 'layer.1.DenseReluDense.wi_0',
    'ffn.fc1': 'layer.1.DenseReluDense.wi_1',
    'ffn.fc2': 'layer.1.DenseReluDense.wo',
    'pos_embedding.embedding':
        'layer.0.SelfAttention.relative_attention_bias',
} | {f'attn.{x}': f'layer.0.SelfAttention.{x}' for x in 'qkvo'}


def encoder(name, dtype=torch.float32):
    kwargs, state = goldens.weights(name)
    model = T5Encoder(**kwargs).eval()
    model.load_state_dict(state)
    return model.to(dtype)


def save_encoder(path, name='t5_own_pos', dtype=torch.float32):
    r"""A checkpoint and its sidecar; the encoder kwargs and weights."""
    kwargs, state = goldens.weights(name)
    state = {k: v.to(dtype) for k, v in state.items()}
    if path.suffix == '.safetensors':
        save_file(state, path)
    else:
        torch.save(state, path)
    path.with_suffix('.json').write_text(json.dumps(kwargs))
    return kwargs, state


def load(path, **kwargs):
    kwargs = {'text_len': 12, 'dtype': torch.float32, 'device': 'cpu'} | kwargs
    return T5EncoderModel(checkpoint_path=path, tokenizer_path=TINY, **kwargs)


@pytest.mark.parametrize('case_id', CASE_MODELS)
def test_recorded_numbers(case_id, parity):
    _, inputs, want = goldens.case(case_id)
    got = encoder(CASE_MODELS[case_id])(inputs['ids'], inputs.get('mask'))
    parity(case_id, goldens.relative_error(got, want['out']))


@pytest.mark.parametrize('buckets', (8, 32))
@pytest.mark.parametrize('way', ('bi', 'uni'))
def test_recorded_buckets(buckets, way):
    _, inputs, want = goldens.case('t5_buckets')
    embedding = T5RelativeEmbedding(buckets, 2, bidirectional=way == 'bi')
    got = embedding._relative_position_bucket(inputs['rel_pos'])
    assert torch.equal(got, want[f'buckets{buckets}.{way}'])


def test_bias_depends_on_the_distance_alone():
    embedding = T5RelativeEmbedding(8, 2, bidirectional=True)
    bias = embedding(3, 5)
    assert bias.shape == (1, 2, 3, 5)
    for i in range(3):
        for j in range(5):
            bucket = embedding._relative_position_bucket(torch.tensor(j - i))
            assert torch.equal(bias[0, :, i, j],
                               embedding.embedding.weight[bucket])


@pytest.mark.parametrize('suffix', ('.pth', '.safetensors'))
def test_recorded_call(tmp_path, suffix, parity):
    params, _, want = goldens.case('t5_call')
    save_encoder(tmp_path / f't5{suffix}')
    # The official name ends in .pth whatever is there.
    model = load(tmp_path / 't5.pth', text_len=params['text_len'])
    got = model(params['texts'], torch.device('cpu'))
    want = goldens.listed(want, 'context')
    assert len(got) == len(want)
    parity(f't5_call {suffix}', max(map(goldens.relative_error, got, want)))


def test_same_alone_and_at_any_text_len(tmp_path):
    save_encoder(tmp_path / 't5.pth')
    texts = ['two cats box on a stage', '']
    short, long = (load(tmp_path / 't5.pth', text_len=n) for n in (12, 512))
    for text, together in zip(texts, long(texts, 'cpu'), strict=True):
        for model in (short, long):
            alone, = model(text, 'cpu')
            assert goldens.relative_error(alone, together) < 1e-5


def test_official_keys_and_shapes():
    for model in (umt5_xxl(device='meta'),
                  umt5_xxl(encoder_only=True, return_tokenizer=False,
                           dtype=torch.bfloat16, device='meta')):
        state = model.state_dict()
        assert all(v.is_meta for v in state.values())
        assert [(k, list(v.shape)) for k, v in state.items()] == \
            list(goldens.expected_state('umt5-xxl-encoder').items())
    assert model.norm.weight.dtype == torch.bfloat16


def test_umt5_xxl_follows_the_device_context():
    with torch.device('meta'):
        assert umt5_xxl(num_layers=1).norm.weight.is_meta


@pytest.mark.parametrize('kwargs', (
    {'encoder_only': False}, {'return_tokenizer': True}))
def test_only_the_encoder_exists(kwargs):
    with pytest.raises(ValueError, match='encoder_only=True'):
        umt5_xxl(device='meta', **kwargs)


def test_same_as_transformers(parity):
    generator = torch.Generator().manual_seed(0)
    sizes = {'vocab': 90, 'dim': 40, 'dim_attn': 48, 'dim_ffn': 96,
             'num_heads': 6, 'num_layers': 3, 'num_buckets': 32}
    theirs = UMT5EncoderModel(UMT5Config(
        vocab_size=90, d_model=40, d_kv=8, d_ff=96, num_heads=6, num_layers=3,
        relative_attention_num_buckets=32, feed_forward_proj='gated-gelu',
        pad_token_id=0, decoder_start_token_id=0)).eval()
    ours = T5Encoder(**sizes, shared_pos=False).eval()
    state = {
        k: torch.randn(v.shape, generator=generator) * 0.3
        for k, v in ours.state_dict().items()}
    ours.load_state_dict(state)
    names = PARTS | {
        f'blocks.{i}.{a}': f'encoder.block.{i}.{b}'
        for i in range(3) for a, b in BLOCK_PARTS.items()}
    mapped = {names[k.removesuffix('.weight')] + '.weight': v
              for k, v in state.items()}
    mapped['encoder.embed_tokens.weight'] = mapped['shared.weight']
    assert mapped.keys() | {'shared.weight'} >= theirs.state_dict().keys()
    theirs.load_state_dict(mapped)

    ids = torch.randint(90, (3, 200), generator=generator)
    mask = (torch.arange(200) < torch.tensor([[200], [37], [1]])).long()
    for given in (None, mask):
        want = theirs(input_ids=ids, attention_mask=given).last_hidden_state
        parity(f'umT5 and transformers, mask {given is not None}',
               goldens.relative_error(ours(ids, given), want))


def test_masked_keys_have_no_influence():
    model = encoder('t5_own_pos')
    ids = torch.arange(10)[None] + 3
    mask = torch.ones(1, 10)
    mask[:, 6:] = 0
    other = ids.clone()
    other[:, 6:] = 50
    kept = model(ids, mask)[:, :6]
    assert torch.equal(kept, model(other, mask)[:, :6])
    assert not torch.allclose(kept, model(ids)[:, :6], atol=1e-3)
    assert torch.allclose(kept, model(ids[:, :6]), atol=1e-5)


def test_attention_by_hand():
    r"""Unscaled logits; a mask for each query; a context of another length."""
    torch.manual_seed(0)
    attention = T5Attention(6, 8, 2).eval()
    x, context = torch.randn(2, 3, 6), torch.randn(2, 5, 6)
    bias = torch.randn(1, 2, 3, 5)
    mask = torch.ones(2, 3, 5)
    mask[:, 0, 1:] = 0
    mask[1, 2] = 0  # nothing seen: all keys alike

    def heads(linear, y):
        return linear(y).unflatten(-1, (2, 4)).transpose(1, 2)

    for shape in (mask, mask[:, 1] * torch.tensor([1, 1, 0, 1, 0])):
        full = shape if shape.ndim == 3 else shape[:, None]
        logits = heads(attention.q, x) @ heads(
            attention.k, context).transpose(-1, -2)
        for b, given in ((0., None), (bias, bias)):
            masked = (logits + b).masked_fill(full[:, None] == 0, -1e30)
            out = masked.softmax(-1) @ heads(attention.v, context)
            want = attention.o(out.transpose(1, 2).flatten(2))
            got = attention(x, context, shape, given)
            assert torch.allclose(got, want, atol=1e-5)


def test_heads_must_divide():
    with pytest.raises(ValueError, match='10.*multiple.*4'):
        T5Attention(8, 10, 4)


@pytest.mark.parametrize('dtype', (torch.float32, torch.bfloat16))
def test_norm(dtype):
    norm = T5LayerNorm(4).to(dtype)
    x = torch.tensor([[3., -3., 3., -3.], [0., 0., 0., 0.]], dtype=dtype)
    want = torch.tensor([[1., -1., 1., -1.], [0., 0., 0., 0.]], dtype=dtype)
    got = norm(x)
    assert got.dtype == dtype
    assert torch.allclose(got, want)


def test_fp16_clamp():
    inf = float('inf')
    big = torch.tensor([1., inf, -inf], dtype=torch.float16)
    assert fp16_clamp(big).tolist() == [1., 64512., -64512.]
    assert fp16_clamp(big.float()).tolist() == [1., inf, -inf]


def test_half_precision_is_near(tmp_path):
    params, _, want = goldens.case('t5_call')
    save_encoder(tmp_path / 't5.pth')
    want = goldens.listed(want, 'context')
    for dtype, limit in ((torch.bfloat16, 0.05), (torch.float16, 0.006)):
        got = load(tmp_path / 't5.pth', dtype=dtype)(params['texts'], 'cpu')
        assert {u.dtype for u in got} == {dtype}
        assert max(map(goldens.relative_error, got, want)) < limit


def test_attributes_and_stored_dtype(tmp_path):
    _, state = save_encoder(tmp_path / 't5.pth', dtype=torch.bfloat16)
    model = T5EncoderModel(
        12, checkpoint_path=tmp_path / 't5.pth', tokenizer_path=TINY)
    assert model.text_len == 12 and model.dtype == torch.bfloat16
    assert model.checkpoint_path == tmp_path / 't5.pth'
    assert model.tokenizer_path == TINY and model.tokenizer.seq_len == 12
    assert model.device.type == (
        'cuda' if torch.cuda.is_available() else 'cpu')
    loaded = model.model.state_dict()
    assert all(torch.equal(loaded[k].cpu(), v) for k, v in state.items())
    assert not model.model.training


def test_results_go_where_asked(tmp_path):
    save_encoder(tmp_path / 't5.pth')
    out, = load(tmp_path / 't5.pth')('two cats', 'meta')
    assert out.is_meta and out.shape == (3, 64)


def test_shard_fn(tmp_path):
    save_encoder(tmp_path / 't5.pth')
    seen = {}

    def shard(model, sync_module_states):
        seen.update(device=model.norm.weight.device,
                    sync=sync_module_states)
        return model

    load(tmp_path / 't5.pth', device='meta', shard_fn=shard)
    assert seen == {'device': torch.device('cpu'), 'sync': False}


def test_checkpoint_that_does_not_fit(tmp_path):
    kwargs, state = save_encoder(tmp_path / 't5.pth')
    state['norm.bias'] = state.pop('norm.weight')
    state['blocks.0.attn.q.weight'] = torch.zeros(3, 64)
    torch.save(state, tmp_path / 't5.pth')
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / 't5.pth')
    for part in (str(tmp_path / 't5.pth'), '1 missing (norm.weight)',
                 '1 unexpected (norm.bias)', '1 misshaped', '(3, 64)'):
        assert part in str(error.value)


def test_small_weights_without_sidecar(tmp_path):
    save_encoder(tmp_path / 't5.pth')
    (tmp_path / 't5.json').unlink()
    with pytest.raises(CheckpointError, match=r'instead of \(4096, 4096\)'):
        load(tmp_path / 't5.pth')


@pytest.mark.parametrize('missing', ('checkpoint_path', 'tokenizer_path'))
def test_both_paths_are_needed(tmp_path, missing):
    paths = {'checkpoint_path': tmp_path, 'tokenizer_path': TINY}
    with pytest.raises(ValueError, match=f'{missing}.* None'):
        T5EncoderModel(12, **paths | {missing: None})
