r"""What config.json and sidecars may say."""
import json
import shutil
import time

import pytest
import torch

from tests.utils.weights import CONFIG, DIT, T5, VAE, refused
from wan.modules.model import WanModel
from wan.modules.t5 import T5EncoderModel
from wan.modules.vae import WanVAE
from wan.utils.checkpoint import check_checkpoint, sidecar, weight_files


@pytest.fixture
def copy(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / 'copy')


@pytest.mark.parametrize('changes, told', (
    ({'num_layers': 10**6}, 'num_layers is 1000000, it must be a whole number '
     'from 1 to 256'),
    ({'num_layers': 0}, 'num_layers is 0'),
    ({'num_layers': True}, 'num_layers is True'),
    ({'num_layers': 2.0}, 'num_layers is 2.0'),
    ({'dim': 10**400}, 'dim is 1000'),
    ({'dim': -256}, 'dim is -256'),
    ({'dim': None}, 'dim is None'),
    ({'ffn_dim': '8'}, 'ffn_dim is 8, it must be a whole number'),
    ({'freq_dim': 7}, 'freq_dim is 7, it must be an even number'),
    ({'patch_size': [1, 2]}, 'a list of 3, each a whole number'),
    ({'patch_size': [1, 2, 10**9]}, 'patch_size is'),
    ({'patch_size': [[[1]]] * 3}, 'patch_size is'),
    ({'qk_norm': 1}, 'qk_norm is 1, it must be true or false'),
    ({'eps': float('nan')}, 'eps is nan'),
    ({'eps': 1e30}, 'eps is 1e+30'),
    ({'window_size': 3}, 'window_size is 3'),
    ({'in_dim': 48}, 'in_dim is 48 and out_dim'),
    ({'num_heads': 7}, 'must split into 7 heads of even size'),
    ({'model_type': ['t2v']}, 'Unknown model_type'),
    ({'model_type': 'ti2v'}, 'a ti2v model of Wan2.2'),
    ({'_class_name': 'WanTransformer3DModel'}, 'in the layout of diffusers'),
    ({'_class_name': 'UNet2DConditionModel'}, 'a UNet2DConditionModel'),
    ({'architectures': ['UMT5EncoderModel']}, 'a model of transformers'),
))
def test_numbers_of_a_model_are_bounded(copy, changes, told):
    path = copy / 'config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    start = time.monotonic()
    said = refused(WanModel.empty, copy)
    assert said.startswith(f'{path} describes no model: ') and told in said
    assert time.monotonic() - start < 1


@pytest.mark.parametrize('text', (
    '', '{', '[]', '{}', 'null', '[' * 10**6, '{"a":' * 10**5,
    ' ' * (2**22 + 1), '\0', '{"dim": ' + '9' * 5000 + '}', '\ud800'))
def test_descriptions_that_are_none(copy, text):
    for path, call in (
            (copy / 'config.json', lambda: WanModel.empty(copy)),
            (copy / VAE.replace('.pth', '.json'),
             lambda: sidecar(copy / VAE)),
            (copy / f'{DIT}.index.json', lambda: weight_files(copy))):
        if call.__code__.co_names[0] == 'sidecar' and text == '{}':
            continue  # says nothing, which is allowed
        path.write_bytes(text.encode('utf-8', 'surrogatepass'))
        assert path.name in refused(call)


@pytest.mark.parametrize('changes, told', (
    ({'dim': 10**6}, 'dim is 1000000'),
    ({'z_dim': 8}, 'z_dim 8 needs as many values of mean; got 16'),
    ({'dim_mult': [1] * 99}, 'a list of 1 to 8'),
    ({'num_res_blocks': 10**6}, 'num_res_blocks is'),
    ({'temperal_downsample': [True]}, 'of temperal_downsample; got 1'),
    ({'temperal_downsample': 3}, 'temperal_downsample is 3'),
    ({'mean': 'x'}, 'mean is x'), ({'std': [0.] * 16}, 'std is'),
    ({'std': [float('nan')] * 16}, 'std is'),
    ({'vocab': 9}, "it has 'vocab', known are dim, z_dim"),
))
def test_numbers_of_a_vae_are_bounded(copy, changes, told):
    path = copy / VAE.replace('.pth', '.json')
    path.write_text(json.dumps(json.loads(path.read_text()) | {
        'mean': [0.] * 16, 'std': [1.] * 16} | changes))
    assert told in refused(lambda: WanVAE(vae_pth=copy / VAE, device='cpu'))


@pytest.mark.parametrize('changes, told', (
    ({'num_layers': 10**6}, 'num_layers is 1000000'),
    ({'vocab': 2}, 'tokens, the text encoder'),
    ({'device': 'meta'}, "it has 'device'"),
    ({'encoder_only': False}, "it has 'encoder_only'"),
    ({'num_heads': 7}, 'must be a multiple of num_heads'),
    ({'num_buckets': 7}, 'an even number'),
))
def test_numbers_of_a_text_encoder_are_bounded(copy, changes, told):
    path = copy / T5.replace('.pth', '.json')
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert told in refused(lambda: T5EncoderModel(
        8, torch.float32, 'cpu', copy / T5, copy / CONFIG.t5_tokenizer))


@pytest.mark.parametrize('part, changes', (
    ('config.json', {'text_dim': 4096}), ('config.json', {'text_dim': [9]}),
    ('config.json', {'in_dim': 48, 'out_dim': 48}),
    (T5.replace('.pth', '.json'), {'dim': 64}),
    (VAE.replace('.pth', '.json'), {'z_dim': 48})))
def test_networks_must_fit_together(copy, part, changes):
    path = copy / part
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    said = refused(check_checkpoint, copy, CONFIG)
    assert f'{T5} and {VAE} have ' in said
