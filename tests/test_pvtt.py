r"""The editing pipeline against the method's identities."""
import weakref

import pytest
import torch
from PIL import Image

from wan.configs import WAN_CONFIGS
from wan.edit_config import PRESETS
from wan.modules.model import TextKV
from wan.product.finding import Finding
from wan.product.hint import Hint
from wan.product.locate import FOUND, JUMPS, TOO_LARGE
from wan.product.masks import Region
from wan.pvtt import EditConfig, Product, WanPVTT
from wan.refdrop.config import READERS, RefConfig
from wan.runtime import Runtime
from wan.together import NOT_FOUND
from wan.utils.flags import names
from wan.utils.progress import Cancelled, Progress

FRAMES, HEIGHT, WIDTH = 5, 32, 48
SOURCE = 'a red watch on a table'
TARGET = 'a blue vase on a table'


@pytest.fixture(scope='module')
def pipe(checkpoint):
    return WanPVTT(WAN_CONFIGS['t2v-tiny'], checkpoint,
                   runtime=Runtime(device='cpu', dtype='float32'))


@pytest.fixture(scope='module')
def clip():
    r"""A bright square moving over a gradient."""
    x = torch.linspace(-1, 1, WIDTH).expand(3, FRAMES, HEIGHT, WIDTH).clone()
    for t in range(FRAMES):
        x[:, t, 8:24, 4 + 4 * t:20 + 4 * t] = 1
    return x


def photo(colour):
    image = Image.new('RGB', (60, 80), 'white')
    image.paste(colour, (15, 20, 45, 60))
    return Product(image)


PRODUCT = photo('teal')


def edit(pipe, clip, products=(PRODUCT,), steps=3, target=TARGET, ref=None,
         seed=7, **options):
    names = ('src_mask', 'source_blend', 'target_blend', 'use_mask',
             'ref_bank', 'reverse_from', 'finding', 'round_trip', 'progress')
    given = {k: options.pop(k) for k in names if k in options}
    given.setdefault('round_trip', True)
    if given.get('src_mask') is None:
        options.setdefault('collage_zeta_scale', 0.)
    return pipe.generate(
        clip, products, SOURCE, target, seed=seed,
        edit=EditConfig(sample_steps=steps, **{
            'sample_guide_scale': 5., **options}),
        ref=None if ref is None else RefConfig(**ref), **given)


def centre_mask():
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, :, :16] = 1
    return mask


def read(pipe, clip, target=TARGET):
    r"""The clip as a scene of seed 7."""
    prompts = {'source': SOURCE, 'target': target, 'null': 'nothing'}
    return pipe.read(clip, prompts, {}, 7, False, Progress())


@pytest.fixture(scope='module')
def plain(pipe, clip):
    with torch.no_grad():
        return edit(pipe, clip, products=())


class Spy(torch.nn.Module):
    r"""The model; keeps the timestep, batch and slots of every call."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.calls = []

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.model, name)

    def forward(self, x, t, context, seq_len, ref=None, **others):
        self.calls.append((float(t[0]), len(x), x[0].size(1), ref, context))
        return self.model(
            x, t=t, context=context, seq_len=seq_len, ref=ref, **others)


@pytest.fixture
def spy(pipe, monkeypatch):
    monkeypatch.setattr(pipe, 'model', Spy(pipe.model))
    return pipe.model


@pytest.mark.parametrize('mode', READERS)
@pytest.mark.parametrize('off', [{'ref_c': (0.,)}, {'ref_layers': ''},
                                 {'ref_steps': '0-0'}])
def test_switched_off_is_no_reference(pipe, clip, plain, mode, off):
    result = edit(pipe, clip, ref={'ref_branches': mode, **off})
    assert torch.equal(result.video, plain.video)


def test_the_default_weight_is_of_one_photo(pipe, clip):
    told = edit(pipe, clip, ref={'ref_c': (0.3,)})
    assert torch.equal(edit(pipe, clip).video, told.video)
    with pytest.raises(ValueError, match='2 product photos need as many'):
        edit(pipe, clip, [PRODUCT] * 2)


@pytest.mark.parametrize('mode', READERS)
def test_the_photo_matters(pipe, clip, plain, mode):
    ref = {'ref_branches': mode, 'ref_c': (.5,)}
    teal = edit(pipe, clip, ref=ref)
    red = edit(pipe, clip, products=[photo('red')], ref=ref)
    assert not torch.equal(teal.video, plain.video)
    assert not torch.equal(teal.video, red.video)
    assert torch.equal(teal.video, edit(pipe, clip, ref=ref).video)


@pytest.mark.parametrize('mode, pattern', [
    ('target', [0, 0, 1]), ('both', [0, 1, 1]), ('split', [0, 0, 0, 1]),
    ('all', [1, 1, 1])])
def test_who_reads(pipe, clip, spy, mode, pattern):
    edit(pipe, clip, ref={'ref_branches': mode}, use_mask=False)
    capturing = [c for c in spy.calls if c[2] == 1]
    editing = [c for c in spy.calls if c[2] == 2]
    assert [c[0] for c in capturing] == [0.]
    # The source's velocity comes first in every step.
    assert [int(c[3] is not None) for c in editing] == pattern * 2


@pytest.mark.parametrize('method, mode, pattern', [
    ('flowedit', 'both', [0, 0, 1, 1]), ('flowedit', 'target', [0, 0, 0, 1]),
    ('flowedit', 'all', [1, 1, 1, 1]), ('sdedit', 'both', [1, 1]),
    ('sdedit', 'split', [0, 0, 1])])
def test_who_reads_in_the_baselines(pipe, clip, spy, method, mode, pattern):
    edit(pipe, clip, ref={'ref_branches': mode}, use_mask=False,
         edit_method=method)
    editing = [c for c in spy.calls if c[2] == 2]
    assert [int(c[3] is not None) for c in editing] == pattern * 2


@pytest.mark.parametrize('batch, pattern', [
    (False, [0, 0, 0, 1, 0, 0, 0]), (True, [1, 0])])
def test_steps_without_the_photo_cost_nothing(
        pipe, clip, spy, batch, pattern):
    edit(pipe, clip, ref={'ref_branches': 'split', 'ref_steps': '0-0.5'},
         use_mask=False, batch_branches=batch)
    editing = [c for c in spy.calls if c[2] == 2]
    assert [int(c[3] is not None) for c in editing] == pattern


def test_the_bank_is_unchanged_by_the_loop(pipe, clip):
    r"""And it is gone when decoding begins, which needs the memory."""
    kept = {}
    original = pipe.remember

    def remember(*arguments):
        reader = original(*arguments)
        kept['now'] = [t for r in reader.recall(0.)
                       for t in (*r.keys, *r.values)]
        kept['was'] = [t.clone() for t in kept['now']]
        kept['reader'] = weakref.ref(reader)
        return reader

    def decode(*arguments):
        assert kept['reader']() is None
        return WanPVTT.decode(pipe, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipe, 'remember', remember)
        patch.setattr(pipe, 'decode', decode)
        edit(pipe, clip, src_mask=centre_mask(), ref={'ref_c': (.5,)})
    assert all(map(torch.equal, kept['now'], kept['was']))


@pytest.mark.parametrize('scale, zeta', [(1., 0.), (19.5, .1), (7., .5)])
def test_equal_prompts_return_the_source(pipe, clip, scale, zeta):
    result = edit(
        pipe, clip, products=(), target=SOURCE, sample_guide_scale=scale,
        fg_zeta_scale=zeta, bg_zeta_scale=zeta, use_mask=False)
    torch.testing.assert_close(
        result.video, result.round_trip, atol=1e-4, rtol=0)


@pytest.mark.parametrize('method', ['flowalign', 'flowedit', 'sdedit'])
def test_branches_in_one_batch_or_apart(pipe, clip, method):
    ref = {'ref_c': (.4,)}
    apart = edit(pipe, clip, ref=ref, edit_method=method)
    batch = edit(
        pipe, clip, ref=ref, edit_method=method, batch_branches=True)
    assert apart.video.shape == clip.shape
    torch.testing.assert_close(
        batch.video, apart.video, atol=1e-3, rtol=0)


def test_a_batch_is_one_call(pipe, clip, spy):
    edit(pipe, clip, batch_branches=True, use_mask=False)
    assert [c[1] for c in spy.calls if c[2] == 2] == [3, 3]


def test_saved_bank_equals_fresh_bank(pipe, clip, spy, tmp_path):
    file = tmp_path / 'bank.safetensors'
    options = {'ref': {'ref_c': (.4,)}, 'use_mask': False}
    fresh = edit(pipe, clip, **options)
    saved = edit(pipe, clip, ref_bank=file, **options)
    assert file.is_file()
    spy.calls.clear()
    loaded = edit(pipe, clip, ref_bank=file, **options)
    assert not [c for c in spy.calls if c[2] == 1]
    assert torch.equal(fresh.video, saved.video)
    assert torch.equal(fresh.video, loaded.video)
    with pytest.raises(ValueError, match='another photo'):
        edit(pipe, clip, products=[photo('red')], ref_bank=file, **options)


def test_matched_bank_is_refilled_at_every_level(
        pipe, clip, spy, monkeypatch):
    encoded = []
    encode = pipe.vae.encode_chunks

    def watch(frames):
        chunks = list(frames)
        encoded.append(sum(chunk.size(1) for chunk in chunks))
        return encode(chunks)

    monkeypatch.setattr(pipe.vae, 'encode_chunks', watch)
    edit(pipe, clip, ref={'ref_t': 'match', 'ref_noised': True},
         use_mask=False)
    assert encoded.count(1) == 1
    capturing = [c[0] for c in spy.calls if c[2] == 1]
    editing = sorted({c[0] for c in spy.calls if c[2] == 2}, reverse=True)
    assert capturing == editing and len(editing) == 2


def test_given_mask_and_composite(pipe, clip):
    result = edit(pipe, clip, src_mask=centre_mask(), composite=True)
    assert result.mask.shape == (FRAMES, HEIGHT, WIDTH)
    # The feathered edge ends before the last column.
    assert result.mask[..., -1].sum() == 0
    assert torch.equal(result.video[..., -1], clip[..., -1])
    assert not torch.equal(result.video, clip)


def test_the_collage_is_the_goal_inside_the_region_alone(pipe, clip):
    scene, mask = read(pipe, clip), centre_mask()
    cells = Region.given(mask, scene.latent.shape).cells
    region, goal, _ = pipe.place(
        scene, mask, EditConfig(), [PRODUCT], Progress())
    assert (region.cells >= cells).all() and region.limits
    outside, inside = region.cells == 0, region.cells == 1
    assert torch.equal(goal[:, outside], scene.latent[:, outside])
    assert (goal - scene.latent)[:, inside].abs().mean() > 0.01


def test_the_photos_detail_is_kept_and_the_template_around_it(pipe, clip):
    given = {'src_mask': centre_mask(), 'edit_method': 'refine',
             'strength': .6, 'ref': {'ref_c': (0.,)}}
    _, _, pasted = pipe.place(
        read(pipe, clip), centre_mask(), EditConfig(collage_detail=True),
        [PRODUCT], Progress())
    drawn, kept = (edit(pipe, clip, collage_detail=detail, **given)
                   for detail in (False, True))
    assert torch.equal(drawn.mask, kept.mask)
    # The feathered edge ends before the last column.
    assert torch.equal(kept.video[..., -1], clip[..., -1])
    assert not torch.equal(drawn.video[..., -1], clip[..., -1])
    inside = kept.mask == 1

    def steps(video):  # from a pixel to the next, where both are inside
        both = inside[..., 1:] & inside[..., :-1]
        return (video - pasted.video).diff(dim=-1)[:, both].abs().mean()

    assert (kept.video - pasted.video)[:, inside].abs().mean() > 0
    assert steps(kept.video) < .2 * steps(drawn.video)


def test_the_way_back_does_not_end_in_the_collage(pipe, clip):
    given = {'src_mask': centre_mask(), 'reverse_from': clip}
    plain, detail = (edit(pipe, clip, collage_zeta_scale=.01,
                          collage_detail=detail, **given)
                     for detail in (False, True))
    assert torch.equal(plain.video, detail.video)


def test_a_larger_pull_ends_nearer_to_the_collage(pipe, clip):
    given = {'src_mask': centre_mask(), 'fg_zeta_scale': 0.,
             'ref': {'ref_c': (0.,)}}
    _, goal, _ = pipe.place(
        read(pipe, clip), centre_mask(), EditConfig(), [PRODUCT], Progress())
    pasted = pipe.decode(goal, Progress())
    far, near = (
        edit(pipe, clip, collage_zeta_scale=pull, **given)
        for pull in (.1, .9))
    assert near.used == {'mask': True, 'reference': False, 'collage': True,
                         'sparse': False}
    assert (near.video - pasted).abs().mean() \
        < .8 * (far.video - pasted).abs().mean()
    off = edit(pipe, clip, collage_zeta_scale=0., **given)
    text = edit(pipe, clip, products=(), **given)
    assert torch.equal(off.video, text.video) and not off.used['collage']


@pytest.mark.parametrize('name', ['fg_zeta_scale', 'bg_zeta_scale'])
def test_a_larger_pull_ends_nearer_to_the_template(pipe, clip, name):
    everywhere = {'src_mask': torch.ones(1, HEIGHT, WIDTH)} \
        if name == 'fg_zeta_scale' else {'use_mask': False}
    far, near = (
        edit(pipe, clip, products=(), **{name: pull}, **everywhere)
        for pull in (0., .9))
    distance = [(r.video - r.round_trip).abs().mean() for r in (far, near)]
    assert distance[1] < .8 * distance[0]


@pytest.mark.parametrize('options', [
    {'use_mask': False}, {'products': ()}, {'edit_method': 'flowedit'},
    {'collage': 'off'}])
def test_no_collage_without_mask_photo_or_zeta(pipe, clip, options):
    options = {'src_mask': centre_mask(), **options}
    on, off = (edit(pipe, clip, ref={'ref_c': (0.,)}, collage_zeta_scale=pull,
                    **options) for pull in (.5, 0.))
    assert torch.equal(on.video, off.video) and not on.used['collage']


def test_a_mask_that_is_found_is_as_one_that_is_given(
        pipe, clip, monkeypatch):
    mask = centre_mask().expand(FRAMES, -1, -1)
    monkeypatch.setattr(pipe, 'find', lambda *arguments: mask)
    options = {'mask_grow': 1, 'collage_zeta_scale': .3}
    found = edit(pipe, clip, **options)
    given = edit(pipe, clip, src_mask=mask, **options)
    assert torch.equal(found.video, given.video)
    assert torch.equal(found.mask, given.mask)
    assert found.used['collage'] and found.notes == ()


def test_a_mask_that_is_doubtful_is_said(pipe, clip, monkeypatch):
    mask = torch.ones(FRAMES, HEIGHT, WIDTH)
    mask[2:] = 0
    monkeypatch.setattr(pipe, 'find', lambda *arguments: mask)
    assert edit(pipe, clip).notes == (
        FOUND.format(TOO_LARGE.format(2)), FOUND.format(JUMPS.format(3)))


def test_a_segmenter_and_a_hint_are_asked(pipe, clip):
    class Half:
        needs_place, told = True, []

        def mask(self, video, words, hint):
            self.told.append((video.shape, words, hint))
            mask = torch.zeros(video.shape[1:])
            mask[:, :HEIGHT // 2] = 1
            return mask

    half, hint = Half(), Hint(3, 4, 20, 20, 1)
    result = edit(pipe, clip, finding=Finding(
        segmenter=half, hint=hint, words='watch'))
    assert half.told == [(clip.shape, 'watch', hint)]
    assert result.mask[:, 0].all() and not result.mask[:, -1].any()


def test_words_find_a_mask(pipe, clip):
    result = edit(
        pipe, clip, source_blend='watch', target_blend='vase')
    assert set(result.mask.unique().tolist()) <= {0., 1.}
    with pytest.raises(ValueError, match='blue vase'):
        edit(pipe, clip, target_blend='shoe')


@pytest.mark.parametrize('ref', [
    {'ref_rope': 'spatial'}, {'ref_rope': 'none'}, {'ref_rope': 'offset'},
    {'ref_rope': 'box'}, {'ref_rope': 'box', 'ref_query_mask': False},
    {'ref_t': '0.3,0.6'}, {'ref_stats': 'norm'},
    {'ref_stats': 'full'}, {'ref_key_mask': True},
    {'ref_query_mask': False}, {'ref_c': (-.3,)}])
def test_every_setting_reaches_the_model(pipe, clip, ref):
    r"""What each does there is tested with the bank."""
    # So few tokens that the key mask leaves one, which is matched anywhere.
    base = {'ref_c': (.3,), 'ref_key_mask': False}
    other = edit(pipe, clip, src_mask=centre_mask(), ref={**base, **ref})
    base = edit(pipe, clip, src_mask=centre_mask(), ref=base)
    assert other.video.isfinite().all() and other.ref != base.ref
    assert not torch.equal(base.video, other.video)


def test_several_photos(pipe, clip):
    products = [PRODUCT, photo('red')]
    both = edit(pipe, clip, products=products, ref={'ref_c': (.3, .2)})
    first = edit(pipe, clip, products=products, ref={'ref_c': (.3, 0.)})
    alone = edit(pipe, clip, ref={'ref_c': (.3,)})
    assert torch.equal(first.video, alone.video)
    assert not torch.equal(both.video, alone.video)


def test_the_preset_phantom_takes_any_number_of_photos(pipe, clip, plain):
    ref = {name: value for name, value in PRESETS['phantom'].items()
           if name in names(RefConfig)}
    one, two = (edit(pipe, clip, products=products, ref=ref) for products in (
        [PRODUCT], [PRODUCT, photo('red')]))
    assert not torch.equal(one.video, plain.video)
    assert not torch.equal(one.video, two.video)
    off = edit(pipe, clip, ref={**ref, 'ref_c': (0.,)})
    assert torch.equal(off.video, plain.video)


def test_forward_then_reverse_returns_near_the_source(pipe, clip):
    scene = read(pipe, clip)
    distances = []
    for steps in (4, 32):
        config = EditConfig(sample_steps=steps, sample_guide_scale=2.,
                            bg_zeta_scale=0.)
        v = pipe.velocity(
            pipe.conditions(scene).of_branches(config.edit_method))
        there = pipe.edit(scene, v, config, Progress())
        back = pipe.edit(scene, v, config, Progress(), start=there)
        z = scene.latent
        distances.append(float((back - z).norm() / (there - z).norm()))
    assert distances[1] < .3 and distances[1] < distances[0]


def test_bf16_is_near_float32(pipe, clip, checkpoint):
    half = WanPVTT(WAN_CONFIGS['t2v-tiny'], checkpoint,
                   runtime=Runtime(device='cpu', dtype='bfloat16'))
    options = {'ref': {'ref_c': (.4,)}, 'src_mask': centre_mask(),
               'sample_guide_scale': 2.}
    want, got = (edit(p, clip, **options).video for p in (pipe, half))
    assert (want - got).abs().mean() < .05


@pytest.mark.parametrize('batch', [False, True])
def test_the_text_is_projected_once(pipe, clip, spy, batch):
    edit(pipe, clip, use_mask=False, batch_branches=batch, products=())
    contexts = [call[4] for call in spy.calls]
    assert all(isinstance(context, TextKV) for context in contexts)
    assert len(set(map(id, contexts))) == (1 if batch else 2)


def test_frames_must_fit(pipe):
    with pytest.raises(ValueError, match='frame_num'):
        pipe.generate(torch.zeros(3, 4, 32, 48), (), SOURCE, TARGET)


def test_a_negative_seed_draws_one(pipe, clip):
    first, second = (edit(pipe, clip, products=(), seed=-1) for _ in range(2))
    assert not torch.equal(first.video, second.video)


def test_the_round_trip_can_be_left_out(pipe, clip, plain):
    result = edit(pipe, clip, products=(), round_trip=False)
    assert result.round_trip is None
    assert torch.equal(result.video, plain.video)


def test_a_product_that_is_not_found_is_said(pipe, clip, monkeypatch):
    everywhere = edit(pipe, clip, products=(), target=SOURCE)
    assert everywhere.notes == (NOT_FOUND,)
    assert not everywhere.used['mask'] and everywhere.mask.min() == 1
    assert edit(pipe, clip, products=(), src_mask=centre_mask()).notes == ()


def test_other_ranks_get_nothing(pipe, clip, monkeypatch):
    monkeypatch.setattr(pipe, 'rank', 1)
    assert edit(pipe, clip) is None


def test_progress_of_an_edit(pipe, clip):
    told = []
    progress = Progress(told.append)
    edit(pipe, clip, ref={'ref_c': (.3,)}, progress=progress)
    assert list(progress.seconds) == [
        'encode text', 'encode', 'find the product', 'capture the reference',
        'edit', 'decode']
    steps = [step for step in told if step.stage == 'edit']
    assert [(s.done, s.total) for s in steps] == [(0, 2), (1, 2), (2, 2)]
    assert steps[1].latent.shape == (16, 2, 4, 6)

    stopped = Progress(lambda step: step.stage == 'edit' and stopped.cancel())
    with pytest.raises(Cancelled, match='edit'):
        edit(pipe, clip, progress=stopped)


def test_what_the_vae_encodes_comes_before_the_transformer(
        pipe, clip, monkeypatch):
    r"""Photos, collage and the edit to go back from included."""
    order = []
    encode, on_device = pipe.vae.encode_chunks, pipe.on_device
    monkeypatch.setattr(pipe.vae, 'encode_chunks', lambda frames: (
        order.append('encode'), encode(frames))[1])
    monkeypatch.setattr(pipe, 'on_device', lambda module, *more: (
        order.append(module), on_device(module, *more))[1])
    edit(pipe, clip, src_mask=centre_mask(), reverse_from=clip)
    vae = pipe.vae.model
    assert order == [
        pipe.text_encoder.model, *[vae, 'encode'] * 4, pipe.model, vae, vae]


def test_a_run_leaves_nothing_behind(pipe, clip):
    r"""Neither on the pipeline nor on any of its networks."""

    def state():
        holders = [pipe, pipe.vae, pipe.text_encoder, *(
            module for network in (pipe.model, pipe.vae.model,
                                   pipe.text_encoder.model)
            for module in network.modules())]
        return [{name: id(value) for name, value in vars(holder).items()}
                for holder in holders]

    before = state()
    edit(pipe, clip, ref={'ref_c': (.3,), 'ref_t': 'match'})
    assert state() == before
