r"""Edits of one template that run together: each is as its own run."""
import pytest
import torch
from PIL import Image

from wan.configs import WAN_CONFIGS
from wan.edit_config import EditConfig
from wan.flowalign import edit_sigmas, flowalign, flowedit
from wan.product.photo import Product
from wan.pvtt import WanPVTT
from wan.refdrop.config import RefConfig
from wan.runtime import Runtime
from wan.sparse import SparseConfig
from wan.step_cache import StepCacheConfig
from wan.together import of_each, stacked
from wan.utils.kept import Kept
from wan.utils.progress import Cancelled, Progress
from wan.windows import WindowConfig

SHAPE = (2, 3, 4, 4)
SIGMAS = edit_sigmas(4, 3., 1.)
FRAMES, HEIGHT, WIDTH = 5, 32, 48
SHARE = SparseConfig('share')


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def toy(number, asked=None):
    r"""Velocities of an edit; the source's are the same for all."""

    def v(latents, sigma):
        if asked is not None:
            asked.append(tuple(latents))
        return {name: torch.tanh(x + sigma * (number if name == 'pt' else 1))
                for name, x in latents.items()}

    return v


def noise():
    return torch.Generator().manual_seed(3)


def test_several_edits_are_one_loop_bit_for_bit():
    source, goals = draw(*SHAPE), draw(3, *SHAPE, seed=1)
    zeta = draw(3, 1, *SHAPE[1:], seed=2).sigmoid()
    asked = []
    got = flowalign(
        source, stacked(of_each([toy(n, asked) for n in range(3)]), 3),
        SIGMAS, noise(), guide_scale=4., zeta=zeta, goal=goals,
        start=source.expand(3, *SHAPE))
    assert asked[:3] == [('q', 'ps', 'pt'), ('ps', 'pt'), ('ps', 'pt')]
    for n in range(3):
        assert torch.equal(got[n], flowalign(
            source, toy(n), SIGMAS, noise(), guide_scale=4.,
            zeta=zeta[n, 0], goal=goals[n]))


def test_flowedit_shares_both_branches_of_the_source():
    source, asked = draw(*SHAPE), []
    got = flowedit(
        source, stacked(of_each([toy(n, asked) for n in range(2)]), 2),
        SIGMAS, noise(), guide_scale=4., start=source.expand(2, *SHAPE))
    assert asked[:2] == [('q', 'q_null', 'p_null', 'pt'), ('p_null', 'pt')]
    for n in range(2):
        assert torch.equal(got[n], flowedit(
            source, toy(n), SIGMAS, noise(), guide_scale=4.))


# The pipeline


@pytest.fixture(scope='module')
def pipe(checkpoint):
    return WanPVTT(WAN_CONFIGS['t2v-tiny'], checkpoint,
                   runtime=Runtime(device='cpu', dtype='float32'))


@pytest.fixture(scope='module')
def clip():
    x = torch.linspace(-1, 1, WIDTH).expand(3, FRAMES, HEIGHT, WIDTH).clone()
    x[:, :, 8:24, 4:20] = 1
    return x


def photo(colour, width=30):
    image = Image.new('RGB', (60, 80), 'white')
    image.paste(colour, (5, 20, 5 + width, 60))
    return Product(image)


def mask(columns=16):
    out = torch.zeros(1, HEIGHT, WIDTH)
    out[:, :, :columns] = 1
    return out


# Products, target prompt, mask.
WANTED = (
    ((photo('teal'),), 'a blue vase on a table', mask()),
    ((photo('red', 50),), 'a red ball', mask(24)),
    ((photo('gold'),), 'a gold watch', mask(32)),
)


def editing(pipe, clip, wanted, **options):
    products, target, place = wanted
    edit = {name: options.pop(name) for name in ('edit_method', 'composite')
            if name in options}
    options = {'seed': 7, 'sparse': SHARE, 'src_mask': place, **options}
    return pipe.editing(
        clip, products, 'a red watch on a table', target,
        edit=EditConfig(sample_steps=3, sample_guide_scale=5., **edit),
        **options)


def results(pipe, edits):
    return [result for _, result in sorted(
        pipe.together(edits), key=lambda pair: pair[0])]


def alone(pipe, clip, wanted, **options):
    (_, result), = pipe.together([editing(pipe, clip, wanted, **options)])
    return result


class Counting(torch.nn.Module):
    r"""Keeps how many tokens the blocks of each forward are given."""

    def __init__(self, model):
        super().__init__()
        self.model, self.tokens = model, []
        self.hook = model.blocks[0].register_forward_pre_hook(
            lambda block, args: self.tokens.append(
                args[0].size(0) * args[0].size(1)))


@pytest.fixture
def counted(pipe):
    counting = Counting(pipe.model)
    yield counting.tokens
    counting.hook.remove()


@pytest.mark.parametrize('options', [
    {}, {'sparse': SparseConfig('off')}, {'edit_method': 'flowedit'},
    {'ref': RefConfig(ref_t='match', ref_branches='split')},
    {'step_cache': StepCacheConfig(.9)},
    {'ref': RefConfig(ref_rope='box')}],
    ids=['sparse', 'full', 'flowedit', 'match', 'cache', 'box'])
def test_each_is_its_own_run(pipe, clip, options):
    wanted = WANTED[:2]
    together = results(pipe, [
        editing(pipe, clip, one, **options) for one in wanted])
    for one, got in zip(wanted, together, strict=True):
        want = alone(pipe, clip, one, **options)
        torch.testing.assert_close(
            got.video, want.video, rtol=1e-4, atol=1e-4)
        assert torch.equal(got.region.cells, want.region.cells)
        assert got.used == want.used and got.notes == want.notes
        assert got.edit == want.edit
    assert (together[0].video - together[1].video).abs().max() > .01


def test_a_further_product_costs_its_own_tokens_alone(pipe, clip, counted):
    r"""12 tokens in 2 frames, of which the masks touch 4, 8 and 8."""
    results(pipe, [editing(pipe, clip, ((), *one[1:])) for one in WANTED])
    assert counted == [12 + 2 * (4 + 8 + 8)] * 2


def test_windows_go_together_too(pipe):
    clip = torch.linspace(-1, 1, WIDTH).expand(3, 13, HEIGHT, WIDTH).clone()
    options = {'windows': WindowConfig(9, 4)}
    wanted = WANTED[:2]
    together = results(pipe, [
        editing(pipe, clip, one, **options) for one in wanted])
    for one, got in zip(wanted, together, strict=True):
        torch.testing.assert_close(
            got.video, alone(pipe, clip, one, **options).video,
            rtol=1e-4, atol=1e-4)


def test_a_mask_that_is_found_is_each_ones_own(pipe, clip, monkeypatch):
    r"""Of the second, whose product is not found, nothing is spared."""
    places = iter([mask()[0].expand(FRAMES, -1, -1), None] * 2)
    monkeypatch.setattr(pipe, 'find', lambda *_: next(places))
    wanted = [(*one[:2], None) for one in WANTED[:2]]
    first, second = results(pipe, [
        editing(pipe, clip, one) for one in wanted])
    assert first.used['sparse'] and not second.used['sparse']
    assert not first.notes and second.notes
    for one, got in zip(wanted, (first, second), strict=True):
        torch.testing.assert_close(
            got.video, alone(pipe, clip, one).video, rtol=1e-4, atol=1e-4)


def test_one_that_cannot_begin_leaves_the_others(pipe, clip):
    bad = ((photo('red'),), 'a red ball', torch.zeros(1, HEIGHT, WIDTH))
    found = dict(pipe.together([
        editing(pipe, clip, one) for one in (WANTED[0], bad, WANTED[1])]))
    assert isinstance(found[1], ValueError)
    for number, one in (0, WANTED[0]), (2, WANTED[1]):
        torch.testing.assert_close(
            found[number].video, alone(pipe, clip, one).video,
            rtol=1e-4, atol=1e-4)


def test_one_that_breaks_on_the_way_leaves_the_others(
        pipe, clip, monkeypatch, caplog):
    make = pipe.encode_text

    def broken(prompts, *more):
        made = make(prompts, *more)
        if 'broken' in prompts.get('target', ''):
            made['target'] = made['target'] * float('nan')
        return made

    monkeypatch.setattr(pipe, 'encode_text', broken)
    bad = (WANTED[1][0], 'broken', WANTED[1][2])
    found = dict(pipe.together([
        editing(pipe, clip, one) for one in (WANTED[0], bad)]))
    assert isinstance(found[1], FloatingPointError)
    assert '2 edits at once failed, each is run by itself' in caplog.text
    assert torch.equal(
        found[0].video, alone(pipe, clip, WANTED[0]).video)


def test_the_time_of_the_loop_is_shared(pipe, clip):
    told = [Progress(), Progress()]
    results(pipe, [
        editing(pipe, clip, one, progress=progress)
        for one, progress in zip(WANTED, told, strict=False)])
    first, second = (progress.seconds['edit'] for progress in told)
    assert first == pytest.approx(second) and first > 0


def test_what_is_kept_is_encoded_once(pipe, clip):
    kept, told = Kept(('latent', 'text.source', 'text.null')), [
        Progress(), Progress()]
    results(pipe, [
        editing(pipe, clip, ((), *one[1:]), progress=progress, kept=kept)
        for one, progress in zip(WANTED, told, strict=False)])
    assert 'encode' in told[0].seconds and 'encode' not in told[1].seconds


def test_cancelled_is_of_all(pipe, clip):
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        results(pipe, [editing(pipe, clip, WANTED[0], progress=progress)])


@pytest.mark.parametrize('options, other, message', [
    ({'seed': 7}, {'seed': 8}, 'needs one template; the seed differs'),
    ({}, {'clip': True}, 'needs one template; the video differs'),
    ({}, {'n_prompt': 'x'}, 'needs one template; the null prompt differs'),
    ({}, {'ref': RefConfig(ref_c=(.1,))},
     'needs equal settings; those of ref differ'),
    ({'edit_method': 'sdedit', 'sparse': SparseConfig('off')}, None,
     'needs edit_method flowalign or flowedit, not sdedit'),
    ({'ref': RefConfig(ref_branches='all')}, None,
     "needs photos that the template's evaluation does not read"),
    ({'reverse_from': torch.zeros(3, FRAMES, HEIGHT, WIDTH),
      'sparse': SparseConfig('off')}, None, 'is not for reverse')])
def test_what_cannot_run_together_runs_alone(
        pipe, clip, caplog, options, other, message):
    other = dict(options if other is None else other)
    second = clip.flip(-1) if other.pop('clip', False) else clip
    found = results(pipe, [editing(pipe, clip, WANTED[0], **options),
                           editing(pipe, second, WANTED[1], **other)])
    assert f'by itself: running together {message}' in caplog.text
    assert torch.equal(found[1].video, alone(
        pipe, second, WANTED[1], **other).video)
