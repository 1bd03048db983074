r"""Every part on one device, proved without a GPU.

The device is torch's meta device, which has shapes and no numbers. A tensor
that was left on the CPU meets one of the device's, and that raises; indices,
which CUDA takes from the CPU, and numbers may be there. Where a value is read
back there is nothing to read: such a place is replaced, by name.
"""
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wan import flowalign, samplers
from wan.conditioning import Condition
from wan.modules.model import WanModel
from wan.modules.quantize import packing
from wan.modules.t5 import T5Encoder
from wan.modules.vace_model import VaceWanModel
from wan.modules.vae import OFFICIAL, WanVAE_
from wan.modules.vae_chunks import decode_chunks, encode_chunks
from wan.pipeline import WanPipeline
from wan.refdrop.bank import capture
from wan.refdrop.config import RefConfig
from wan.refdrop.reading import reading_slots
from wan.runtime import Runtime
from wan.team import ALONE
from wan.utils.progress import Progress
from wan.velocity import Denoiser, velocity

META = torch.device('meta')
SIZES = dict(text_len=6, dim=24, ffn_dim=32, freq_dim=16, text_dim=8,
             num_heads=2, num_layers=2)
GRID = (2, 2, 3)
ATEN = torch.ops.aten
MAY_MIX = (ATEN._to_copy.default, ATEN.copy_.default, ATEN.index.Tensor,
           ATEN.index_put_.default, ATEN.index_put.default,
           ATEN._index_put_impl_.default)


class Apart(TorchDispatchMode):
    r"""Raises where an operation is given tensors of both devices."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        devices = {
            x.device.type for x in tree_leaves((args, kwargs))
            if isinstance(x, torch.Tensor) and x.dim()}
        if len(devices) > 1 and func not in MAY_MIX:
            raise RuntimeError(f'{func} is given tensors of {devices}.')
        return func(*args, **kwargs or {})


@pytest.fixture(autouse=True)
def apart():
    with torch.no_grad(), Apart():
        yield


def there(*shape):
    return torch.empty(*shape, device=META)


def build(kind=WanModel, **more):
    with META:
        return kind(**{**SIZES, **more}).eval().requires_grad_(False)


def denoiser(**more):
    return Denoiser(build(**more))


def condition(model, **inputs):
    return Condition(model.project_text([there(4, 8)]), inputs)


def test_what_is_mixed_raises():
    with pytest.raises(RuntimeError, match='is given tensors of'):
        there(3) + torch.zeros(3)
    assert (there(3) * 2 * torch.tensor(2.)).device == META


@pytest.mark.parametrize('cached', [True, False])
@pytest.mark.parametrize('shapes', [[(2, 4, 6)], [(2, 4, 6), (1, 4, 6)]])
def test_text_to_video(cached, shapes):
    model = build()
    text = [there(4, 8)] * len(shapes)
    out = model([there(16, *shape) for shape in shapes],
                t=there(len(shapes)), seq_len=12,
                context=model.project_text(text) if cached else text)
    assert [u.device for u in out] == [META] * len(shapes)


def test_image_to_video():
    model = build(model_type='i2v', in_dim=36, text_len=512)
    out = model([there(16, 2, 4, 6)], t=there(1), context=[there(4, 8)],
                seq_len=12, clip_fea=there(1, 257, 1280),
                y=[there(20, 2, 4, 6)])
    assert out[0].device == META


def test_a_control():
    model = build(VaceWanModel, model_type='vace')
    out = model([there(16, 2, 4, 6)], t=there(1), seq_len=12,
                context=model.project_text([there(4, 8)]),
                vace_context=[there(16, 2, 4, 6)])
    assert out[0].device == META


def test_weights_in_8_bits():
    model = build()
    pack = packing('int8', torch.float32)
    for name, p in list(model.named_parameters()):
        owner, _, last = name.rpartition('.')
        setattr(model.get_submodule(owner), last, nn.Parameter(
            pack(name, p.data), requires_grad=False))
    out = model([there(16, 2, 4, 6)], t=there(1), seq_len=12,
                context=model.project_text([there(4, 8)]))
    assert out[0].device == META


@pytest.mark.parametrize('settings', [
    {}, {'ref_gate': 'joint', 'ref_rope': 'tail'}, {'ref_stats': 'norm'},
    {'ref_rope': 'spatial'}, {'ref_rope': 'none'}, {'ref_rope': 'box'}])
@pytest.mark.parametrize('masked', [True, False])
def test_a_reference_is_captured_and_read(settings, masked):
    v = denoiser()
    found = capture(v, there(16, 1, 4, 6), condition(v.model), (0., .5),
                    there(16, 1, 4, 6))
    # Which tokens are the product's is known on the CPU.
    found = replace(found, mask=torch.arange(6) < 4)
    assert found.keys[0].device == META
    mask = torch.arange(12) % 3 > 0 if masked else None
    boxes = torch.tensor([[0, 0, 2, 2]] * 2)
    slots = reading_slots(
        [found], RefConfig(ref_c=(.4,), **settings), [True], GRID, mask,
        boxes)
    out = v([there(16, 2, 4, 6)], 500., condition(v.model), slots)
    assert out[0].device == META


@pytest.mark.parametrize('tile', [None, (3, 1)])
def test_the_vae(tile):
    with META:
        model = WanVAE_(**OFFICIAL | {'dim': 8, 'z_dim': 4})
    # Statistics may be on the CPU, as those of a VAE that comes and goes.
    scale = torch.zeros(4), torch.ones(4)
    video = there(1, 3, 9, 32, 40)
    latent = model.encode(video, scale, tile=tile)
    assert latent.device == META and latent.shape == (1, 4, 3, 4, 5)
    assert model.decode(latent, scale, tile=tile).device == META
    for chunk in decode_chunks(model, latent[0], scale, tile):
        assert chunk.device == META
    for frame in encode_chunks(model, video[0].split(4, 1), scale, tile):
        assert frame.device == META


@pytest.mark.parametrize('shared', [True, False])
def test_the_text_encoder(shared):
    with META:
        model = T5Encoder(20, 16, 16, 24, 2, 2, 8, shared_pos=shared).eval()
    ids = torch.zeros(1, 7, dtype=torch.long).to(META)
    assert model(ids, torch.ones(1, 7).to(META)).device == META


@contextmanager
def unread(monkeypatch, module):
    r"""Nothing looks whether a latent is finite."""
    with monkeypatch.context() as patch:
        patch.setattr(module, 'check_finite', lambda *given: None)
        yield


@pytest.mark.parametrize('batch', [True, False])
@pytest.mark.parametrize('name', flowalign.EDIT_METHODS)
def test_the_editing_loops(name, batch, monkeypatch):
    v = denoiser()
    method = flowalign.EDIT_METHODS[name]
    names = method.branches
    branches = velocity(
        v, {name: condition(v.model) for name in names}, batch=batch)
    more = {'zeta': there(1, 2, 4, 6), 'goal': there(16, 2, 4, 6)} \
        if 'zeta' in method.options else {}
    with unread(monkeypatch, flowalign):
        out = method.loop(
            there(16, 2, 4, 6),
            lambda latents, sigma: branches(latents, v.timestep(sigma)),
            flowalign.edit_sigmas(4, 3., .7), torch.Generator(),
            guide_scale=5., **more)
    assert out.device == META


def test_the_sampling_loop(monkeypatch):
    v = denoiser()
    names = condition(v.model), condition(v.model)
    branches = velocity(v, dict(zip(('cond', 'uncond'), names, strict=True)))
    # A scheduler's own table of timesteps is looked through by value.
    scheduler, timesteps = samplers.make_scheduler('euler', 3, 3., 'cpu')
    with unread(monkeypatch, samplers):
        out = samplers.denoise(
            lambda x, t: samplers.guided(
                *branches({'cond': x, 'uncond': x}, t).values(), 5.),
            there(16, 2, 4, 6), scheduler, timesteps)
    assert out.device == META


@pytest.mark.parametrize('offload', [True, False])
def test_the_vae_is_there_only_while_it_runs(offload):
    moves = []

    class Network(nn.Module):
        def to(self, device):
            moves.append(str(device))

        def cpu(self):
            moves.append('off')

    def encoded(frames):
        assert all(frame.device == META for frame in frames)
        moves.append('run')

    def decoded(latent):
        moves.append('run')
        return iter(())

    pipe = WanPipeline.__new__(WanPipeline)
    pipe.vae = SimpleNamespace(
        model=Network(), encode_chunks=encoded, decode_chunks=decoded)
    pipe.vae_stride = 4, 8, 8
    pipe.device, pipe.team, pipe.rank = META, ALONE, 0
    pipe.runtime = Runtime(offload_model=offload)
    pipe.encode_video(torch.zeros(3, 1, 8, 8), Progress())
    pipe.decode(there(16, 1, 1, 1), Progress())
    assert moves == ['meta', 'run', *['off'] * offload] * 2
