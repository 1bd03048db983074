r"""Tiles: closed-form cases of the cutting, and a VAE run on them."""
import pytest
import torch

from tests import goldens
from wan.modules.tiling import parts, spans
from wan.modules.vae import WanVAE_

PLAIN = [0.0, 1.0]


@pytest.mark.parametrize('length', [1, 4, 12, 13, 20, 33, 100])
@pytest.mark.parametrize('size, overlap', [(12, 4), (12, 0), (9, 3), (1, 0)])
def test_weights_sum_to_one(length, size, overlap):
    total = torch.zeros(length * 8)
    found = spans(length, size, overlap)
    for span in found:
        assert span.stop - span.start <= size
        total[span.slice(8)] += span.weights(8)
    torch.testing.assert_close(total, torch.ones(length * 8))


def test_as_few_spans_as_fit():
    assert [(s.start, s.stop) for s in spans(12, 12, 4)] == [(0, 12)]
    assert [(s.start, s.stop) for s in spans(20, 12, 4)] == [(0, 12), (8, 20)]
    # One cell more needs a third span; the three are equal, not full.
    assert [(s.start, s.stop) for s in spans(21, 12, 4)] == [
        (0, 9), (5, 15), (11, 21)]


def test_last_span_takes_the_remainder():
    first, last = spans(4, 2, 0)
    pixels = torch.arange(4 * 8 + 5)
    assert len(pixels[first.slice(8)]) == 16
    assert len(pixels[last.slice(8)]) == 16 + 5


@pytest.mark.parametrize('size, overlap', [(5, 2), (0, 0), (4, -1)])
def test_bad_span(size, overlap):
    with pytest.raises(ValueError, match=f'size {size}, overlap {overlap}'):
        spans(20, size, overlap)


def test_parts_cover_latent_and_video_once():
    latent, video = torch.zeros(3, 4, 6), torch.zeros(9, 32, 48)
    seen = []
    for part in parts(latent.shape, (4, 8), (2, 0),
                      lambda *done: seen.append(done)):
        latent[part.latent] += 1
        video[part.video] += 1
        cache = part.tile.cache
        cache['frames'] = cache.get('frames', 0) + 1
        # The cache lives through one tile's frames and no longer.
        assert cache['frames'] == 1 + part.latent[1].start
    assert latent.eq(1).all() and video.eq(1).all()
    assert seen == [(i + 1, 18) for i in range(18)]


@pytest.fixture(scope='module')
def local_model():
    r"""A network that mixes little across a frame, as a trained one does."""
    kwargs, state = goldens.weights('vae')
    for key in state:
        if 'proj' in key:
            state[key] *= 0
        elif 'residual.6' in key:
            state[key] *= 0.1
    model = WanVAE_(**kwargs).eval().requires_grad_(False)
    model.load_state_dict(state)
    return model


def smooth(frames, height, width):
    r"""A brightening ramp, [1, 3, T, H, W] in [-1, 1]."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height),
                          torch.linspace(-1, 1, width), indexing='ij')
    return torch.stack([torch.stack([y / 2 + t / 10, x / 2, y * x])
                        for t in range(frames)], 1)[None]


def seam(x, column):
    r"""Mean step between the pixels on the two sides of a column edge."""
    return (x[..., column] - x[..., column - 1]).abs().mean()


def test_one_tile_is_bit_equal(local_model):
    model = local_model
    video, latent = torch.randn(1, 3, 5, 40, 33), torch.randn(1, 16, 2, 5, 4)
    assert torch.equal(model.encode(video, PLAIN, tile=(5, 1)),
                       model.encode(video, PLAIN))
    assert torch.equal(model.decode(latent, PLAIN, tile=(5, 1)),
                       model.decode(latent, PLAIN))


@pytest.mark.parametrize('way', ['encode', 'decode'])
def test_tiles_blend_without_seams(local_model, way):
    code = getattr(local_model, way)
    x, stride = smooth(5, 96, 192), 1
    if way == 'decode':
        x, stride = local_model.encode(x, PLAIN), 8
    whole = code(x, PLAIN)
    tiled = code(x, PLAIN, tile=(12, 4))
    cut = code(x, PLAIN, tile=(12, 0))
    error = (tiled - whole).square().mean().sqrt() / whole.std()
    assert error < 0.15
    # (12, 4) over 24 columns: tiles begin or end at 6, 10, 13 and 17.
    for column in (6, 10, 13, 17):
        edge = column * stride
        assert seam(tiled, edge) < 2 * seam(whole, edge)
    # The measure sees seams where there are some.
    assert seam(cut, 12 * stride) > 4 * seam(whole, 12 * stride)
