import json

import pytest
import torch

from tests.test_layers import ROOT
from wan.jobs.checkpoint import EMBEDDED, Checkpoint
from wan.modules.vae import WanVAE
from wan.page.glimpse import (
    TYPES,
    Glimpse,
    beside,
    cell_colours,
    made_clips,
)
from wan.utils.checkpoint import fingerprint
from wan.utils.video import read_video


@pytest.fixture(scope='module')
def checkpoint():
    return Checkpoint.read(EMBEDDED, 'pvtt', TYPES)


class Pipe:
    r"""As much of a pipeline as a fit takes."""

    def __init__(self, checkpoint):
        self.vae = WanVAE(vae_pth=checkpoint.vae_file, device='cpu')

    def encode_video(self, clip, progress=None):
        return self.vae.encode_chunks([clip])


@pytest.fixture(scope='module')
def pipe(checkpoint):
    return Pipe(checkpoint)


@pytest.fixture(scope='module')
def ours(checkpoint):
    return Glimpse.read(beside(checkpoint.vae_file),
                        fingerprint([checkpoint.vae_file]))


def psnr(a, b):
    return float(-10 * ((a - b) / 2).pow(2).mean().log10())


def grey(picture):
    return picture.mean((1, 2, 3), True).expand_as(picture)


def test_a_linear_encoder_is_inverted():
    mix = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))

    def encode(clip):
        return torch.einsum('cr,rthw->cthw', mix, cell_colours(clip)) + 0.5

    found = Glimpse.fitted(encode)
    assert torch.allclose(found.weight @ mix, torch.eye(3), atol=0.05)
    for clip in made_clips(3, seed=5):
        wanted = cell_colours(clip)
        assert psnr(found.colours(encode(clip)), wanted) > 40


def test_what_a_cell_stands_for():
    clip = torch.arange(9.).view(1, 9, 1, 1).expand(3, 9, 8, 16)
    assert cell_colours(clip)[0, :, 0, 1].tolist() == [0., 2.5, 6.5]


def test_clips_are_the_same_each_time_and_of_all_colours():
    clips = list(made_clips(6))
    again = list(made_clips(6))
    assert all(map(torch.equal, clips, again))
    assert torch.stack(clips).abs().max() <= 1
    assert torch.stack(clips).std() > 0.3


def test_our_own_on_clips_that_it_has_not_seen(pipe, ours):
    r"""Far above a grey picture of the same mean."""
    wide = read_video(ROOT / 'examples' / 'wide.mp4', (128, 128), 16, 9)
    moving = [clip for i, clip in enumerate(made_clips(6, seed=7)) if i % 3]
    gains = []
    for clip in (wide, *moving):
        wanted = cell_colours(clip)
        found = ours.colours(pipe.encode_video(clip))
        gains.append(psnr(found, wanted) - psnr(grey(wanted), wanted))
    assert gains[0] > 3 and min(gains[1:]) > 7, gains


@pytest.mark.parametrize('colour', (
    (0., 0., 0.), (.5, -.5, -.5), (-.6, .2, .6), (.7, .7, .2)))
def test_a_flat_colour_comes_back(pipe, ours, colour):
    flat = torch.tensor(colour)[:, None, None, None]
    found = ours.colours(pipe.encode_video(flat.expand(3, 5, 64, 64)))
    # By what the eye sees of it: the middle of the picture.
    assert (found[:, 1, 2:-2, 2:-2].mean((1, 2)) - flat[:, 0, 0, 0]) \
        .abs().max() < 0.25


def test_fitted_once_and_kept(checkpoint, pipe, tmp_path, monkeypatch):
    r"""For a VAE that has none beside it."""
    monkeypatch.setattr('wan.page.glimpse.beside', lambda path: tmp_path / 'x')
    monkeypatch.setattr('wan.page.glimpse.CLIPS', 3)
    first = Glimpse.of(checkpoint, pipe, tmp_path)
    monkeypatch.setattr(pipe, 'encode_video', None)
    second = Glimpse.of(checkpoint, pipe, tmp_path)
    assert torch.allclose(first.weight, second.weight, atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize('change', (
    {'vae': 'another'}, {'weight': [[1, 2], [3]]}, {'bias': [1, 2]},
    {'weight': 'x'}, None))
def test_another_ones_is_not_taken(tmp_path, change):
    path = tmp_path / 'glimpse.json'
    Glimpse(torch.ones(3, 16), torch.zeros(3)).write(path, 'key')
    assert Glimpse.read(path, 'key').weight.shape == (3, 16)
    if change is None:
        path.write_text('[]')
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert Glimpse.read(path, 'key') is None


def test_the_middle_eight_times_as_large():
    r"""Beyond white is white."""
    latent = torch.zeros(2, 3, 4, 6)
    latent[0, 1] = 5.
    map_ = Glimpse(torch.tensor([[1., 0.], [0., 1.], [0., 1.]]),
                   torch.tensor([0., -1., 1.]))
    picture = map_.picture(latent)
    assert picture.size == (48, 32)
    assert picture.getpixel((20, 20)) == (255, 0, 255)
