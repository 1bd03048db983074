r"""Finding the product in the video, against direct computation."""
import pytest
import torch

from wan.conditioning import Condition
from wan.modules.model import WanModel
from wan.product.locate import (
    FOUND,
    GIVEN,
    JUMPS,
    SIGMAS,
    TOO_LARGE,
    WordAttention,
    doubts,
    find_product,
    heat,
    log_odds,
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


# the map


def disc(height, width, radius, x=None):
    r"""[height, width], 1 in a disc in the middle or at a column."""
    rows, columns = torch.meshgrid(
        torch.arange(height) + .5, torch.arange(width) + .5, indexing='ij')
    x = width / 2 if x is None else x
    return (torch.hypot(rows - height / 2, columns - x) < radius).float()


def draws(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_heat_is_the_mean_of_rms():
    d = torch.zeros(4, 1, 8, 8)
    d[:, 0, 2:6, 2:6] = torch.tensor([3., -3., 3., -3.])[:, None, None]
    want = torch.zeros(1, 8, 8)
    want[:, 2:6, 2:6] = 1.5
    assert torch.equal(heat([d, 0 * d]), want)


def test_words_count_alike_whatever_their_scale():
    d, words = draws(4, 2, 16, 20), disc(8, 10, 3).expand(2, -1, -1)
    other = words.flip(2) + draws(2, 8, 10).square()
    one, two = (heat([d], [words, scale * other + offset])
                for scale, offset in ((1, 0), (1e-3, 7)))
    assert (one - two).abs().max() < 1e-3


def test_words_lower_the_map_elsewhere():
    d, words = torch.ones(4, 2, 16, 20), disc(8, 10, 2).expand(2, -1, -1)
    plain, told = heat([d]), heat([d], [words])
    assert torch.equal(told[:, 7:9, 9:11], plain[:, 7:9, 9:11])
    assert (told[:, 0] == .2 * plain[:, 0]).all()


@pytest.mark.parametrize('scale, offset', [(1., 0.), (1e-4, 3e-4), (50., -9.)])
def test_odds_are_cut_between_the_two(scale, offset):
    truth = disc(60, 104, 14).expand(5, -1, -1)
    noisy = truth + .1 * draws(5, 60, 104)
    odds = log_odds(scale * noisy + offset)
    assert ((odds > 0) == (truth > 0)).float().mean() > .999
    assert (odds - log_odds(noisy)).abs().max() < .1


def test_an_outlier_does_not_hide_the_product():
    truth = disc(60, 104, 14).expand(5, -1, -1).clone()
    truth[0, 0, 0] = 40
    assert torch.equal(log_odds(truth) > 0, truth > 0)


@pytest.mark.parametrize('values', [
    torch.zeros(2, 8, 8), torch.full((2, 8, 8), 1e-5),
    torch.full((2, 8, 8), 7.) + 1e-7, torch.full((2, 8, 8), torch.nan)])
def test_degenerate_maps_tell_nothing(values):
    assert log_odds(values) is None


# the mask


class Told:
    r"""In place of the model: its velocities tell a place apart.

    Args:
        truth: [T, h, w], 1 where the prompts' velocities differ.
    """
    share = None

    def __init__(self, model, truth):
        self.model, self.truth, self.asked = model, truth, []

    def timestep(self, sigma):
        return sigma

    def __call__(self, latents, t, condition, cross=None):
        self.asked.append((t, condition))
        return [(self.truth + .05) * (condition == 'target')
                * torch.ones_like(x) for x in latents]


def found(denoiser, video, latent, seed=0, words=None):
    return find_product(
        denoiser, video, latent, {'source': 'source', 'target': 'target'},
        words or {}, torch.Generator().manual_seed(seed))


def template():
    r"""A red disc on grey, its mask, and cells that differ around it."""
    mask = disc(64, 96, 14)
    red = torch.tensor([.9, -.7, -.7])[:, None, None]
    frame = torch.where(mask > 0, red, torch.full((3, 64, 96), .1))
    video = frame[:, None].expand(-1, 5, -1, -1) + .03 * draws(3, 5, 64, 96)
    return video, mask.expand(5, -1, -1), disc(8, 12, 2.4).expand(2, -1, -1)


def overlap(a, b):
    return float((a * b).sum() / torch.maximum(a, b).sum())


def test_the_mask_is_sharper_than_the_map(model):
    video, truth, cells = template()
    rough = cells[:1].repeat_interleave(8, 1).repeat_interleave(8, 2)
    denoiser = Told(model, cells)
    mask = found(denoiser, video, torch.zeros(16, 2, 8, 12))
    assert mask.shape == truth.shape
    assert overlap(rough[0], truth[0]) < .65
    assert overlap(mask, truth) > .95
    assert denoiser.asked == [
        (sigma, name) for sigma in SIGMAS for name in ('source', 'target')]
    assert torch.equal(
        mask, found(Told(model, cells), video, torch.zeros(16, 2, 8, 12)))


@pytest.mark.parametrize('words', [{}, {'source': [1]},
                                   {'source': [1], 'target': [2, 3]}])
def test_equal_prompts_tell_nothing(model, words):
    text = Condition(tuple(embeddings()))
    assert find_product(
        Denoiser(model), torch.zeros(3, 5, 48, 64), inputs(1)['x'][0],
        {'source': text, 'target': text}, words,
        torch.Generator().manual_seed(0)) is None


def moving(*columns):
    return torch.stack([disc(40, 80, 8, x) for x in columns])


def test_a_steady_mask_is_not_doubted():
    assert doubts(moving(20, 22, 24, 26)) == []
    assert doubts(moving(20)) == []


@pytest.mark.parametrize('mask, told', [
    (moving(20, 22, 60, 62), JUMPS.format(1)),
    (torch.cat([moving(20, 21), torch.zeros(2, 40, 80)]), JUMPS.format(2)),
    (torch.ones(3, 40, 80), TOO_LARGE.format(3))])
def test_a_doubtful_mask_is_told(mask, told):
    assert doubts(mask) == [FOUND.format(told)]
    assert doubts(mask, given=True) == [GIVEN.format(told)]
