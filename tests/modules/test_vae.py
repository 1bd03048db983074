r"""The VAE against recorded numbers, diffusers, and itself."""
import json
import re

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file

from tests import goldens
from wan.modules.vae import OFFICIAL, WanVAE, WanVAE_
from wan.utils.checkpoint import CheckpointError

PLAIN = [0.0, 1.0]


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope='module')
def model():
    kwargs, state = goldens.weights('vae')
    with torch.device('meta'):
        model = WanVAE_(**kwargs)
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    r"""The recorded VAE as a user's files: .pth and .safetensors, each with
    the .json that says its size."""
    folder = tmp_path_factory.mktemp('vae')
    kwargs, state = goldens.weights('vae')
    torch.save(state, folder / 'a.pth')
    save_file(state, folder / 'b.safetensors')
    for name in ('a', 'b'):
        (folder / f'{name}.json').write_text(json.dumps(kwargs))
    return folder


@pytest.fixture(scope='module')
def vae(folder):
    return WanVAE(vae_pth=folder / 'a.pth', device='cpu')


# Recorded numbers


def test_constants(vae):
    _, _, want = goldens.case('vae_constants')
    assert torch.equal(vae.mean, want['mean'])
    assert torch.equal(vae.std, want['std'])
    assert torch.equal(vae.scale[1], want['inv_std'])


@pytest.mark.parametrize('case', goldens.case_ids('vae_encode'))
def test_encode_golden(vae, case, parity):
    _, inputs, outputs = goldens.case(case)
    want = goldens.listed(outputs, 'latent')
    got = vae.encode(goldens.listed(inputs, 'video'))
    assert all(g.dtype == torch.float32 for g in got)
    parity(case, max(map(goldens.relative_error, got, want)))


@pytest.mark.parametrize('case', goldens.case_ids('vae_decode'))
def test_decode_golden(vae, case, parity):
    params, inputs, outputs = goldens.case(case)
    zs, want = (goldens.listed(inputs, 'z'),
                goldens.listed(outputs, 'video_raw'))
    raw = [vae.model.decode(z[None], vae.scale)[0] for z in zs]
    parity(f'{case} raw', max(map(goldens.relative_error, raw, want)))
    clamped = vae.decode(zs)
    assert all(torch.equal(c, r.clamp(-1, 1))
               for c, r in zip(clamped, raw, strict=True))
    if params['clamped']:
        want = goldens.listed(outputs, 'video')
        parity(case, max(map(goldens.relative_error, clamped, want)))


def test_official_keys_and_shapes():
    with torch.device('meta'):
        state = WanVAE_(z_dim=16, **OFFICIAL).state_dict()
    want = goldens.expected_state('vae')
    assert list(state) == list(want)
    assert {k: list(v.shape) for k, v in state.items()} == want


# An independent implementation


def diffusers_key(key):
    names = {'0': 'norm1', '2': 'conv1', '3': 'norm2', '6': 'conv2'}
    middle = {'0': 'resnets.0', '1': 'attentions.0', '2': 'resnets.1'}
    key = re.sub(r'residual\.(\d)', lambda m: names[m[1]], key)
    key = re.sub(r'middle\.(\d)', lambda m: f'mid_block.{middle[m[1]]}', key)
    # Each of diffusers' up blocks holds three residual blocks and, but for
    # the last, an upsampler.
    key = re.sub(
        r'upsamples\.(\d+)',
        lambda m: f'up_blocks.{int(m[1]) // 4}.' +
        ('upsamplers.0' if int(m[1]) % 4 == 3 else
         f'resnets.{int(m[1]) % 4}'), key)
    key = key.replace('downsamples', 'down_blocks')
    key = key.replace('shortcut', 'conv_shortcut')
    key = key.replace('head.0', 'norm_out').replace('head.2', 'conv_out')
    key = re.sub(r'^(encoder|decoder)\.conv1', r'\1.conv_in', key)
    key = re.sub(r'^conv1', 'quant_conv', key)
    return re.sub(r'^conv2', 'post_quant_conv', key)


@pytest.mark.parametrize('downsample', [(False, True, True),
                                        (True, False, True)])
def test_same_as_diffusers(downsample, parity):
    size = dict(z_dim=8, dim_mult=[1, 2, 3, 3], num_res_blocks=2,
                temperal_downsample=list(downsample))
    ours = WanVAE_(dim=8, **size).eval()
    theirs = AutoencoderKLWan(base_dim=8, **size).eval()
    state = {k: randn(*v.shape, seed=i) * v[0].numel()**-0.5 + ('gamma' in k)
             for i, (k, v) in enumerate(ours.state_dict().items())}
    ours.load_state_dict(state)
    theirs.load_state_dict({diffusers_key(k): v for k, v in state.items()})
    video, latent = randn(2, 3, 9, 24, 40), randn(2, 8, 3, 3, 5)
    name = f'vae vs diffusers {"".join(str(int(d)) for d in downsample)}'
    parity(f'{name} encode', goldens.relative_error(
        ours.encode(video, PLAIN),
        theirs.encode(video).latent_dist.mean))
    # diffusers clamps what it decodes.
    parity(f'{name} decode', goldens.relative_error(
        ours.decode(latent, PLAIN).clamp(-1, 1),
        theirs.decode(latent).sample))


# Streaming


@pytest.mark.parametrize('frames', [1, 5, 13])
def test_streaming_is_one_pass(model, frames, parity):
    video = randn(2, 3, frames, 32, 24)
    latent = randn(2, 16, 1 + frames // 4, 4, 3)
    one_pass = model.conv1(model.encoder(video))[:, :16]
    parity(f'vae streamed encode {frames}', goldens.relative_error(
        model.encode(video, PLAIN), one_pass), 1e-5)
    one_pass = model.decoder(model.conv2(latent))
    parity(f'vae streamed decode {frames}', goldens.relative_error(
        model.decode(latent, PLAIN), one_pass), 1e-5)


@pytest.mark.parametrize('sizes', [(1, 8, 4), (1, 4, 4, 4), (5, 8)])
def test_chunks_of_any_size(model, sizes):
    video = randn(1, 3, 13, 16, 16)
    cache = {}
    got = torch.cat([model.encoder(chunk, cache)
                     for chunk in video.split(sizes, dim=2)], 2)
    assert goldens.relative_error(got, model.encoder(video)) < 1e-5


def test_cache_does_not_grow(model):
    def held(cache):
        # What is kept alive, not only what is seen of it.
        return sum(v.untyped_storage().nbytes() for v in cache.values())

    for part, chunk in ((model.encoder, (1, 3, 4, 16, 16)),
                        (model.decoder, (1, 16, 1, 2, 2))):
        cache, sizes = {}, []
        part(torch.zeros(chunk)[:, :, :1], cache)
        for _ in range(5):
            part(torch.zeros(chunk), cache)
            sizes.append(held(cache))
        assert sizes[1:] == sizes[1:2] * 4 and sizes[1] < 2e6


def test_no_state_between_clips(model):
    video = randn(1, 3, 5, 16, 16)
    first = model.encode(video, PLAIN)
    model.encode(randn(1, 3, 9, 24, 16, seed=1), PLAIN)
    assert torch.equal(model.encode(video, PLAIN), first)


def test_surplus_frames_and_pixels_are_dropped(model):
    video = randn(1, 3, 8, 20, 31)
    got = model.encode(video, PLAIN)
    assert got.shape == (1, 16, 2, 2, 3)
    assert torch.equal(got, model.encode(video[:, :, :5], PLAIN))


def test_progress(vae, model):
    seen = []
    vae.encode([randn(3, 9, 16, 16)], on_chunk=lambda *n: seen.append(n))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    seen.clear()
    model.decode(randn(1, 16, 2, 2, 4), PLAIN, tile=(2, 0),
                 on_chunk=lambda *n: seen.append(n))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


# Loading and bad input


def test_tiling_of_the_wrapper(folder, vae, monkeypatch):
    tiled = WanVAE(vae_pth=folder / 'a.pth', device='cpu', tiling=True)
    latent = randn(16, 2, 3, 8)
    assert torch.equal(tiled.decode([latent])[0], vae.decode([latent])[0])
    monkeypatch.setattr(tiled, 'tile', (4, 1))
    assert not torch.equal(tiled.decode([latent])[0], vae.decode([latent])[0])


def test_pth_and_safetensors_and_their_sidecars(folder, vae):
    # Only b.safetensors exists: the .pth of that name means it.
    other = WanVAE(vae_pth=folder / 'b.pth', device='cpu')
    video = randn(3, 5, 16, 16)
    assert torch.equal(other.encode([video])[0], vae.encode([video])[0])
    assert other.model.encoder.conv1.weight.shape[0] == 10
    assert not any(p.requires_grad for p in other.model.parameters())


def test_sidecar_statistics(folder, tmp_path):
    kwargs, state = goldens.weights('vae')
    torch.save(state, tmp_path / 'vae.pth')
    (tmp_path / 'vae.json').write_text(json.dumps(
        kwargs | {'mean': [0.5] * 16, 'std': [2.0] * 16}))
    vae = WanVAE(vae_pth=tmp_path / 'vae.pth', device='cpu')
    plain = WanVAE(vae_pth=folder / 'a.pth', device='cpu')
    video = randn(3, 1, 16, 16)
    raw = plain.model.encode(video[None], PLAIN)[0]
    torch.testing.assert_close(vae.encode([video])[0], (raw - 0.5) / 2)
    (tmp_path / 'vae.json').write_text(json.dumps(kwargs | {'std': [1.0]}))
    with pytest.raises(ValueError, match='z_dim 16 .* std; got 1'):
        WanVAE(vae_pth=tmp_path / 'vae.pth', device='cpu')


def test_half_precision(folder, vae):
    half = WanVAE(vae_pth=folder / 'a.pth', dtype=torch.bfloat16,
                  device='cpu')
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}
    latent = randn(16, 2, 3, 4)
    got, want = half.decode([latent])[0], vae.decode([latent])[0]
    assert got.dtype == torch.float32
    assert (got - want).abs().mean() < 0.02
    latent = half.encode([want])[0]
    assert latent.dtype == torch.float32
    assert goldens.relative_error(latent, vae.encode([want])[0]) < 0.05


def test_wrong_checkpoint(folder, tmp_path):
    _, state = goldens.weights('vae')
    torch.save(state, tmp_path / 'vae.pth')
    with pytest.raises(CheckpointError, match=r'vae\.pth .*misshaped.*\(40,'):
        WanVAE(vae_pth=tmp_path / 'vae.pth', device='cpu')
    with pytest.raises(CheckpointError, match='none.pth'):
        WanVAE(vae_pth=tmp_path / 'none.pth', device='cpu')


@pytest.mark.parametrize('shape', [(3, 16, 16), (1, 4, 1, 16, 16),
                                   (1, 3, 0, 16, 16), (1, 3, 1, 7, 16)])
def test_bad_video(model, shape):
    with pytest.raises(ValueError, match=r'\[B, 3, T, H, W\].*got \['):
        model.encode(torch.zeros(shape), PLAIN)


def test_bad_latent(model):
    with pytest.raises(ValueError, match=r'\[B, 16, T, H, W\].*got \['):
        model.decode(torch.zeros(1, 4, 1, 2, 2), PLAIN)
