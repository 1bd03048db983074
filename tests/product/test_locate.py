r"""Finding the product in the video, against direct computation."""
import pytest
import torch

from wan.conditioning import Condition
from wan.modules.model import WanModel
from wan.product import locate
from wan.product.locate import (
    WordAttention,
    attention_mask,
    find_product,
    refine,
    velocity_mask,
)
from wan.velocity import Denoiser

GRID = (2, 3, 4)
LAYERS = 3


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    model = WanModel(
        text_len=12, dim=48, ffn_dim=64, freq_dim=32, text_dim=24,
        num_heads=4, num_layers=LAYERS).eval()
    for name, parameter in model.named_parameters():
        if 'cross_attn.norm' in name:  # far from a uniform softmax
            parameter.data.mul_(2)
    return model


def inputs(seed, batch=1):
    generator = torch.Generator().manual_seed(seed)
    f, h, w = GRID
    x = [torch.randn(16, f, 2 * h, 2 * w, generator=generator)
         for _ in range(batch)]
    return dict(x=x, t=torch.full((batch,), 600.), seq_len=f * h * w)


def embeddings(batch=1):
    generator = torch.Generator().manual_seed(9)
    return [torch.randn(7, 24, generator=generator)] * batch


def direct(model, layers, positions, **kwargs):
    r"""The same probabilities from what the modules are seen to make."""
    seen = {}
    handles = [
        module.register_forward_hook(
            lambda m, args, out, key=(i, name): seen.update({key: out}))
        for i in layers for name, module in (
            ('q', model.blocks[i].cross_attn.norm_q),
            ('k', model.blocks[i].cross_attn.norm_k))
    ]
    model(context=embeddings(len(kwargs['x'])), **kwargs)
    for handle in handles:
        handle.remove()
    probabilities = []
    for i in layers:
        q, k = (seen[i, name].double().unflatten(2, (4, 12)).transpose(1, 2)
                for name in 'qk')
        weights = (q @ k.transpose(2, 3) / 12**0.5).softmax(-1)
        assert weights.size(-1) == 12  # padding counts, as in the model
        probabilities.append(weights[..., positions].mean((0, 1, 3)))
    return torch.stack(probabilities).mean(0).view(GRID)


@pytest.mark.parametrize('chunk', [1024, 24, 5])
@pytest.mark.parametrize('batch', [1, 2])
def test_word_attention(model, chunk, batch):
    words = WordAttention([2, 5, 6], LAYERS, chunk)
    out = model(context=embeddings(batch), cross=words.slots,
                **inputs(1, batch))
    got = words.map(GRID)
    want = direct(model, [1], [2, 5, 6], **inputs(1, batch))
    assert (got - want).abs().max() < 1e-6
    assert want.std() > 1e-2 * want.mean()
    # To look changes nothing.
    plain = model(context=embeddings(batch), **inputs(1, batch))
    assert all(map(torch.equal, out, plain))


def test_word_attention_averages_forwards(model):
    words = WordAttention([3], LAYERS)
    for seed in (1, 2, 3):
        model(context=embeddings(), cross=words.slots, **inputs(seed))
    want = sum(direct(model, [1], [3], **inputs(s)) for s in (1, 2, 3)) / 3
    assert (words.map(GRID) - want).abs().max() < 1e-6


def test_word_attention_averages_layers(model):
    words = WordAttention([3], LAYERS)
    words.layers = range(3)
    model(context=embeddings(), cross=words.slots, **inputs(1))
    want = direct(model, [0, 1, 2], [3], **inputs(1))
    assert (words.map(GRID) - want).abs().max() < 1e-6


def test_all_positions_are_certain(model):
    words = WordAttention(range(12), LAYERS)
    model(context=embeddings(), cross=words.slots, **inputs(1))
    assert (words.map(GRID) * 12 - 1).abs().max() < 1e-5


@pytest.mark.parametrize('depth, layers', [
    (30, range(11, 18)), (40, range(14, 24)), (3, range(1, 2)),
    (1, range(0, 1)), (2, range(0, 2)), (12, range(4, 8))])
def test_middle_layers(depth, layers):
    slots = WordAttention([0], depth).slots
    assert [i for i in range(depth) if slots[i] is not None] == list(layers)


def test_map_needs_a_forward():
    with pytest.raises(ValueError, match='No forward'):
        WordAttention([0], LAYERS).map(GRID)


# masks


@pytest.fixture
def not_grown(monkeypatch):
    monkeypatch.setattr(locate, 'GROW', 0.)


def discs(frames, height, width, radius):
    r"""A disc that moves right by two cells a frame."""
    y, x = torch.meshgrid(
        torch.arange(height) + .5, torch.arange(width) + .5, indexing='ij')
    return torch.stack([
        (torch.hypot(y - height / 2, x - width / 3 - 2 * t) < radius).float()
        for t in range(frames)])


def overlap(a, b):
    return float((a * b).sum() / torch.maximum(a, b).sum())


@pytest.mark.parametrize('scale, offset', [(1., 0.), (1e-4, 3e-4), (50., -9.)])
def test_attention_mask_finds_a_disc(scale, offset, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    tokens = discs(5, 30, 52, 7)
    noisy = tokens + 0.3 * torch.randn(tokens.shape, generator=generator)
    grown = attention_mask([scale * noisy + offset], (16, 5, 60, 104))
    monkeypatch.setattr(locate, 'GROW', 0.)
    got = attention_mask([scale * noisy + offset], (16, 5, 60, 104))
    assert set(got.unique().tolist()) == {0., 1.}
    assert overlap(got, discs_on_latent(tokens)) > 0.85
    assert (grown >= got).all() and grown.sum() > 1.2 * got.sum()


def discs_on_latent(tokens):
    return tokens.repeat_interleave(2, 1).repeat_interleave(2, 2)


def test_maps_count_alike():
    a, b = discs(3, 16, 20, 4), discs(3, 16, 20, 4).flip(2)
    shape = (3, 32, 40)
    assert torch.equal(attention_mask([a, b], shape),
                       attention_mask([a, 1e-3 * b + 7], shape))


def test_an_outlier_does_not_hide_the_product(not_grown):
    tokens = discs(5, 30, 52, 7)
    tokens[0, 0, 0] = 40
    got = attention_mask([tokens], (5, 60, 104))
    assert overlap(got, discs_on_latent(discs(5, 30, 52, 7))) > 0.85


def test_velocity_mask_finds_a_disc(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    truth = discs(5, 60, 104, 14)
    differences = [
        (truth + 0.3) * torch.randn(16, 5, 60, 104, generator=generator)
        for _ in range(2)]
    grown = velocity_mask(differences)
    monkeypatch.setattr(locate, 'GROW', 0.)
    got = velocity_mask(differences)
    assert overlap(got, truth) > 0.9
    assert (grown >= got).all()


def test_velocity_mask_is_the_mean_of_rms():
    d = torch.zeros(4, 1, 8, 8)
    d[:, 0, 2:6, 2:6] = torch.tensor([3., -3., 3., -3.])[:, None, None]
    one = d.square().mean(0).sqrt()
    assert one.max() == 3
    assert torch.equal(
        velocity_mask([d, 0 * d]), refine(one / 2))


def test_refine_grows_by_a_share_of_the_frame(monkeypatch):
    monkeypatch.setattr(locate, 'SMOOTH', 0.)
    monkeypatch.setattr(locate, 'GROW', 0.05)
    heat = torch.zeros(1, 40, 40)
    heat[:, 10:20, 10:20] = 1
    want = torch.zeros(1, 40, 40)
    want[:, 8:22, 8:22] = 1
    assert torch.equal(refine(heat), want)


@pytest.mark.parametrize('heat', [
    torch.zeros(2, 8, 8), torch.full((2, 8, 8), 1e-5),
    torch.full((2, 8, 8), 7.) + 1e-7, torch.full((2, 8, 8), torch.nan)])
def test_degenerate_maps_tell_nothing(heat):
    assert refine(heat) is None


def test_a_mask_of_everything_tells_nothing(monkeypatch):
    heat = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert refine(heat) is not None
    monkeypatch.setattr(locate, 'GROW', 1.)
    assert refine(heat) is None


def test_a_product_that_is_not_found_is_everywhere(model):
    x = inputs(1)['x'][0]
    text = Condition(tuple(embeddings()))
    region = find_product(
        Denoiser(model), x, {'source': text, 'target': text}, {},
        torch.Generator().manual_seed(0))
    assert not region.found and not region.limits
    assert torch.equal(region.cells, torch.ones(2, 6, 8))
