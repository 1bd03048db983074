r"""A clip as a stream: the same bits, and memory that does not grow."""
import json

import pytest
import torch

from tests import goldens
from wan.modules import vae_chunks
from wan.modules.vae import WanVAE

TILES = [None, (3, 1)]


@pytest.fixture(scope='module')
def vae(tmp_path_factory):
    folder = tmp_path_factory.mktemp('vae')
    kwargs, state = goldens.weights('vae')
    torch.save(state, folder / 'a.pth')
    (folder / 'a.json').write_text(json.dumps(kwargs))
    return WanVAE(vae_pth=folder / 'a.pth', device='cpu')


def randn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('tile', TILES)
@pytest.mark.parametrize('frames', [1, 4])
def test_decoded_in_chunks(vae, tile, frames, monkeypatch):
    monkeypatch.setattr(vae, 'tile', tile)
    z = randn(16, frames, 4, 5)
    chunks = list(vae.decode_chunks(z))
    assert [c.shape[1] for c in chunks] == [1] + [4] * (frames - 1)
    assert torch.equal(torch.cat(chunks, 1), vae.decode([z])[0])


@pytest.mark.parametrize('tile', TILES)
@pytest.mark.parametrize('sizes', [(1, 4, 4), (9,), (2, 3, 5)])
def test_encoded_in_chunks(vae, tile, sizes, monkeypatch):
    monkeypatch.setattr(vae, 'tile', tile)
    # Pixels past a cell are seen by the cells of the border.
    video = randn(3, sum(sizes), 35, 41)
    got = vae.encode_chunks(video.split(sizes, dim=1))
    assert torch.equal(got, vae.encode([video])[0])


def test_frames_one_by_one(vae):
    video = randn(3, 6, 16, 16)
    assert torch.equal(vae.encode_chunks(iter(video.unbind(1))),
                       vae.encode([video])[0])


def test_each_chunk_is_there_before_the_next_is_asked_for(vae):
    asked = []

    def frames():
        for i in range(9):
            asked.append(i)
            yield torch.zeros(3, 1, 16, 16)

    latent = vae_chunks.encode_chunks(vae.model, frames(), vae.scale)
    assert next(latent).shape == (16, 1, 2, 2) and len(asked) == 1
    assert next(latent).shape == (16, 1, 2, 2) and len(asked) == 5


@pytest.mark.parametrize('frames, told', [
    ([], 'no frames'),
    ([torch.zeros(4, 1, 16, 16)], r'\[3, n, H, W\].*got \[4, 1, 16, 16\]'),
    ([torch.zeros(3, 1, 7, 16)], 'H, W >= 8'),
    ([torch.zeros(3, 1, 16, 16), torch.zeros(3, 4, 16, 24)],
     r'\[16, 24\] pixels, those before it of \[16, 16\]')])
def test_bad_frames(vae, frames, told):
    with pytest.raises(ValueError, match=told):
        vae.encode_chunks(frames)


def test_bad_latent(vae):
    with pytest.raises(ValueError, match=r'\[16, T, H, W\]; got \[4, 1, 2'):
        next(vae.decode_chunks(torch.zeros(4, 1, 2, 2)))
