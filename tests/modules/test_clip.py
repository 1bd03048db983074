r"""The image encoder at recorded numbers, against transformers, and loading."""
import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModel

from tests import goldens
from tests.goldens import relative_error
from wan.modules.clip import (
    UNUSED,
    CLIPModel,
    VisionTransformer,
    XLMRobertaCLIP,
    clip_xlm_roberta_vit_h_14,
)
from wan.modules.clip_layers import (
    AttentionBlock,
    SelfAttention,
    pos_interpolate,
)
from wan.utils.checkpoint import CheckpointError
from wan.utils.sizes import CLIP_SIZES

OFFICIAL = 'clip-xlm-roberta-large-vit-h-14'

# ours: theirs
PARTS = {
    'cls_embedding': 'embeddings.class_embedding',
    'pos_embedding': 'embeddings.position_embedding.weight',
    'patch_embedding.weight': 'embeddings.patch_embedding.weight',
} | {f'{a}.{p}': f'{b}.{p}' for p in ('weight', 'bias') for a, b in (
    ('pre_norm', 'pre_layrnorm'), ('post_norm', 'post_layernorm'))}
BLOCK_PARTS = {
    'norm1': 'layer_norm1', 'norm2': 'layer_norm2', 'mlp.0': 'mlp.fc1',
    'mlp.2': 'mlp.fc2', 'attn.proj': 'self_attn.out_proj',
}


def save(path, dtype=torch.float32, sizes=None, **changes):
    r"""The recorded network, text tower and all, with its sidecar."""
    kwargs, state = goldens.weights('clip')
    state = {k: v.to(dtype) for k, v in (state | changes).items()
             if v is not None}
    (save_file if path.suffix == '.safetensors' else torch.save)(state, path)
    path.with_suffix('.json').write_text(json.dumps({
        k: v for k, v in kwargs.items() if k in CLIP_SIZES} | (sizes or {})))
    return path


def load(path, dtype=torch.float32):
    return CLIPModel(dtype, 'cpu', path, 'no such folder')


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return load(save(tmp_path_factory.mktemp('clip') / 'clip.pth'))


@pytest.mark.parametrize('case', goldens.case_ids('clip'))
def test_recorded_pictures(clip, case, parity):
    _, inputs, want = goldens.case(case)
    videos = goldens.listed(inputs, 'video')
    parity(f'{case}, pixels', relative_error(
        clip.transforms(videos), want['pixels']), 1e-6)
    parity(case, relative_error(clip.visual(videos), want['out']), 1e-5)


@pytest.mark.parametrize('case', goldens.case_ids('clip_both'))
def test_recorded_tower(clip, case, parity):
    _, inputs, want = goldens.case(case)
    got = clip.model.visual(inputs['pixels'])
    parity(case, relative_error(got, want['visual']), 1e-5)


@pytest.mark.parametrize('case', goldens.case_ids('vit'))
def test_recorded_transformers(case, parity):
    params, inputs, want = goldens.case(case)
    kwargs, state = goldens.weights(case)
    model = VisionTransformer(**kwargs).eval()
    model.load_state_dict(state)
    got = model(inputs['pixels'], **params)
    parity(case, relative_error(got, want['out']), 1e-5)


def test_same_as_transformers(parity):
    torch.manual_seed(0)
    theirs = CLIPVisionModel(CLIPVisionConfig(
        hidden_size=48, intermediate_size=96, num_hidden_layers=3,
        num_attention_heads=4, image_size=28, patch_size=7,
        hidden_act='gelu')).eval()
    given = {
        k.removeprefix('vision_model.'): v + torch.randn_like(v) * .1
        for k, v in theirs.state_dict().items() if v.is_floating_point()}
    theirs.load_state_dict(
        {k: given[k.removeprefix('vision_model.')]
         for k, v in theirs.state_dict().items() if v.is_floating_point()},
        strict=False)
    ours = VisionTransformer(
        28, 7, 48, 2, num_heads=4, num_layers=3, activation='gelu').eval()
    state = {'head': ours.head} | {a: given[b] for a, b in PARTS.items()}
    for leaf in ('weight', 'bias'):
        for i in range(3):
            old, new = f'encoder.layers.{i}.', f'transformer.{i}.'
            state |= {f'{new}{a}.{leaf}': given[f'{old}{b}.{leaf}']
                      for a, b in BLOCK_PARTS.items()}
            state[f'{new}attn.to_qkv.{leaf}'] = torch.cat([
                given[f'{old}self_attn.{n}_proj.{leaf}'] for n in 'qkv'])
    ours.load_state_dict({
        k: state[k].view(v.shape) for k, v in ours.state_dict().items()})
    pixels = torch.randn(2, 3, 28, 28)
    hidden = theirs(pixels, output_hidden_states=True).hidden_states
    for name, use_31_block, want in (
            ('all', False, hidden[-1]), ('all but one', True, hidden[-2])):
        got = ours(pixels, use_31_block=use_31_block)
        parity(f'CLIP against transformers, {name}',
               relative_error(got, want), 1e-5)


def test_official_keys_and_shapes_in_order():
    with torch.device('meta'):
        built = XLMRobertaCLIP()
    for model in (built, clip_xlm_roberta_vit_h_14(
            dtype=torch.float16, device='meta')):
        got = [(k, list(v.shape)) for k, v in model.state_dict().items()]
        want = goldens.expected_state(OFFICIAL)
        assert got == [
            (k, v) for k, v in want.items() if k.startswith('visual.')]
        assert {k for k in want if k.startswith(UNUSED)} == \
            set(want) - {k for k, _ in got}
    assert model.visual.head.dtype == torch.float16


# loading


@pytest.mark.parametrize('suffix', ('.pth', '.safetensors'))
@pytest.mark.parametrize('dtype', (torch.float32, torch.float16))
def test_loads_either_format(clip, tmp_path, suffix, dtype):
    save(tmp_path / f'clip{suffix}', dtype)
    # The official name ends in .pth whatever is there.
    loaded = load(tmp_path / 'clip.pth', torch.float16)
    assert loaded.dtype == torch.float32  # on the CPU
    for key, value in clip.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value), key
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())


def test_half_precision_is_near(clip, tmp_path):
    half = load(save(tmp_path / 'clip.pth'), torch.bfloat16)
    videos = goldens.listed(goldens.case('clip_visual_mixed')[1], 'video')
    got = half.visual(videos)
    assert got.dtype == half.dtype == torch.bfloat16
    assert 1e-4 < relative_error(got, clip.visual(videos)) < 5e-2


def test_the_text_tower_may_be_absent(clip, tmp_path):
    _, state = goldens.weights('clip')
    path = save(tmp_path / 'clip.pth', **{
        k: None for k in state if k.startswith(UNUSED)})
    pixels = goldens.case('clip_two_towers')[1]['pixels']
    assert torch.equal(
        load(path).model.visual(pixels), clip.model.visual(pixels))


@pytest.mark.parametrize('changes, told', (
    ({'visual.head': None}, '1 missing (visual.head)'),
    ({'logit_scale': torch.ones(1)}, '1 unexpected (logit_scale)'),
    ({'visual.text': torch.ones(1)}, '1 unexpected (visual.text)'),
    ({'visual.head': torch.ones(64, 8)},
     '1 misshaped (visual.head (64, 8) instead of (64, 32))'),
    ({'visual.head': torch.full((64, 32), torch.inf)}, 'NaN or infinity'),
))
def test_weights_that_do_not_fit(tmp_path, changes, told):
    with pytest.raises(CheckpointError) as error:
        load(save(tmp_path / 'clip.pth', **changes))
    assert told in str(error.value) and 'clip.pth' in str(error.value)


@pytest.mark.parametrize('sizes, told', (
    ({'vision_dim': 10**6}, 'vision_dim is 1000000, it must be a whole'),
    ({'vision_heads': 7}, 'must be a multiple of num_heads, which is 7'),
    ({'image_size': 57}, 'must be a multiple of patch_size, which is 14'),
    ({'vision_post_norm': 1}, 'vision_post_norm is 1, it must be true or'),
    ({'text_dim': 32}, "it has 'text_dim'"),
))
def test_sizes_that_are_none(tmp_path, sizes, told):
    with pytest.raises(CheckpointError) as error:
        load(save(tmp_path / 'clip.pth', sizes=sizes))
    assert told in str(error.value)


def test_load_from_nowhere(tmp_path):
    with pytest.raises(CheckpointError, match='No weights at'):
        load(tmp_path / 'clip.pth')


# pictures and positions


def test_pictures_are_stretched_not_clamped(clip):
    frame = torch.full((3, 1, 9, 30), -1.)
    frame[..., 15:] = 1
    got = clip.transforms([frame])
    assert got.shape == (1, 3, 56, 56) and got.dtype == torch.float32
    # White and black as CLIP has them, and beyond both beside the edge.
    for channel, (mean, std) in enumerate(((.48145466, .26862954),
                                           (.4578275, .26130258),
                                           (.40821073, .27577711))):
        row = got[0, channel, 20]
        assert row[0] == pytest.approx(-mean / std, rel=1e-5)
        assert row[-1] == pytest.approx((1 - mean) / std, rel=1e-5)
        assert row.min() < row[0] - .05 and row.max() > row[-1] + .05


def test_frames_do_not_see_each_other(clip):
    videos = goldens.listed(goldens.case('clip_visual_mixed')[1], 'video')
    apart = [clip.visual([video[:, i:i + 1]])
             for video in videos for i in range(video.size(1))]
    torch.testing.assert_close(torch.cat(apart), clip.visual(videos))


def test_positions_of_the_same_size_stay():
    pos = torch.randn(1, 17, 8)
    assert pos_interpolate(pos, 17) is pos
    # A class token keeps its place, even positions stay even.
    pos[:, 1:] = 3
    got = pos_interpolate(pos, 37)
    assert torch.equal(got[:, 0], pos[:, 0])
    torch.testing.assert_close(got[:, 1:], torch.full((1, 36, 8), 3.))


def test_causal_attention_sees_the_past_alone():
    layer = SelfAttention(24, 3, causal=True).eval()
    x = torch.randn(1, 6, 24)
    y = x.clone()
    y[:, 4:] = 0
    same = torch.isclose(layer(x), layer(y), atol=1e-6).all(-1)[0]
    assert same.tolist() == [True] * 4 + [False] * 2


def test_dropout_is_of_training_alone():
    model = VisionTransformer(
        28, 14, 24, num_heads=2, num_layers=2, attn_dropout=.5,
        proj_dropout=.5, embedding_dropout=.5)
    x = torch.randn(1, 3, 28, 28)
    assert not torch.equal(model(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


@pytest.mark.parametrize('call, told', (
    (lambda: VisionTransformer(28, 14, 24, num_heads=2, num_layers=1)(
        torch.zeros(1, 3, 28, 42)), r'\(28, 42\), .* must be \(28, 28\)'),
    (lambda: VisionTransformer(28, 14, 24, num_heads=2, num_layers=1)(
        torch.zeros(1, 3, 28, 42), interpolation=True), 'has 6 patches'),
    (lambda: VisionTransformer(28, 14, pool_type='mean'), "is 'mean'; all"),
    (lambda: AttentionBlock(24, 4, 2, activation='swi_glu'),
     "'swi_glu'; allowed: quick_gelu, gelu"),
))
def test_what_cannot_be(call, told):
    with pytest.raises(ValueError, match=told):
        call()
