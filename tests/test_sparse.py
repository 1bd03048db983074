r"""Editing only what changes: exact identities, on a small random model."""
from dataclasses import replace

import pytest
import torch

from tests.cli import failure, prepared
from tests.edits import edit_flags
from wan import jobs
from wan.conditioning import Condition
from wan.edit_config import EditConfig
from wan.flowalign import BRANCHES, EDIT_METHODS, edit_sigmas
from wan.jobs.edit_sparse import resolved_sparse
from wan.jobs.plan import Memory
from wan.modules.model import WanModel
from wan.product.masks import Region, token_mask
from wan.refdrop.bank import capture
from wan.refdrop.config import RefConfig
from wan.refdrop.reading import Reader
from wan.sparse import DENSE, Sparse, SparseConfig, lockstep
from wan.velocity import Denoiser, at_sigma, velocity
from wan.windows import cut, in_windows

SHAPE = (4, 3, 8, 12)
GRID = (3, 4, 6)
SIGMAS = edit_sigmas(4, 5., 1.)
SHARE = SparseConfig('share')


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope='module')
def model():
    model = WanModel(text_len=6, in_dim=4, out_dim=4, dim=48, ffn_dim=32,
                     freq_dim=16, text_dim=8, num_heads=2, num_layers=3)
    generator = torch.Generator().manual_seed(5)
    for weight in model.parameters():
        weight.data = torch.randn(weight.shape, generator=generator) * .2
    return model.eval().requires_grad_(False)


@pytest.fixture(scope='module')
def source():
    return draw(*SHAPE, seed=1)


def conditions(model, method, alike=False, cache_text=True):
    r"""Of each branch; `alike` prompts are one and the same."""
    texts = {name: draw(5, 8, seed=0 if alike else seed) for seed, name in
             enumerate(('source', 'target', 'null'), 10)}
    made = {name: Condition(
        model.project_text([u]) if cache_text else (u,))
        for name, u in texts.items()}
    return {name: made[BRANCHES[name].prompt]
            for name in (*EDIT_METHODS[method].branches, 'ptr')}


def region(rows=slice(2, 6), columns=slice(4, 9)):
    cells = torch.zeros(SHAPE[1:])
    cells[:, rows, columns] = 1
    return Region(cells)


def reader(model, ref, count=1, place=None):
    r"""Of photos of which half is product."""
    mask = (torch.arange(24) % 2).bool()
    bank = tuple(
        capture(Denoiser(model), draw(4, 1, 8, 12, seed=20 + i),
                conditions(model, 'flowalign')['pt'], (0.,), None, mask)
        for i in range(count))
    steps = {1000. * s: s for s in SIGMAS[:-1].tolist()}
    where = (place or region()).tokens(GRID) if ref.ref_query_mask else None
    boxes = (place or region()).boxes(GRID)
    return Reader(lambda sigma: bank, ref, steps, GRID, where, boxes)


def run(v, source, method='flowalign', slots=None, ref=None, place=None,
        goal=None):
    edit = EditConfig(edit_method=method)
    options = {'zeta': edit.zeta(None if place is None else place.cells),
               'src_guide_scale': 3.5, 'goal': goal}
    return EDIT_METHODS[method].loop(
        source, at_sigma(v, Denoiser(None)), SIGMAS,
        torch.Generator().manual_seed(3), guide_scale=5.,
        ref_guide_scale=None if ref is None else ref.own_guidance,
        **{name: options[name] for name in options
           if name in EDIT_METHODS[method].options})


def sparse(model, method, place, slots=None, told=None, windows=None,
           margin=0):
    inside = SparseConfig('share', margin).inside(place, model.patch_size)
    edit = EditConfig(edit_method=method)
    return Sparse(inside, edit).velocity(
        Denoiser(model), told or conditions(model, method), slots,
        windows or (slice(None),))


EVERYWHERE = torch.ones(GRID, dtype=torch.bool)
REFS = {
    'none': None,
    'target': RefConfig(ref_branches='target', ref_t='0'),
    'both': RefConfig(ref_c=(.4,)),
    'split': RefConfig(ref_branches='split', ref_layers='deep'),
    'all': RefConfig(ref_branches='all', ref_query_mask=False),
    'box': RefConfig(ref_rope='box'),
    'spatial': RefConfig(ref_rope='spatial', ref_key_mask=False),
    'full': RefConfig(ref_stats='full'),
    'norm': RefConfig(ref_stats='norm', ref_steps='0-0.5'),
    'joint': RefConfig(ref_gate='joint', ref_c=(.5,), ref_rope='tail'),
    'two': RefConfig(ref_c=(.3, -.2)),
    'two joint': RefConfig(ref_gate='joint', ref_c=(.3, .3)),
}


@pytest.mark.parametrize('method', ['flowalign', 'flowedit'])
@pytest.mark.parametrize('name', REFS)
def test_a_region_of_everything_is_the_plain_run(model, source, method, name):
    ref = REFS[name]
    slots = ref and reader(model, ref, len(ref.ref_c))
    told = conditions(model, method)
    whole = Sparse(EVERYWHERE, EditConfig(edit_method=method)).velocity(
        Denoiser(model), told, slots)
    plain = velocity(Denoiser(model), told, slots)
    got, want = (run(v, source, method, slots, ref) for v in (whole, plain))
    assert (want - source).abs().max() > .1
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('method', ['flowalign', 'flowedit'])
@pytest.mark.parametrize('name', ['none', 'both', 'split', 'joint'])
def test_outside_the_edit_is_the_source_bit_for_bit(
        model, source, method, name):
    ref, place = REFS[name], region()
    slots = ref and reader(model, ref)
    goal = torch.lerp(source, draw(*SHAPE, seed=9), place.cells)
    for margin in (0, 1):
        out = run(sparse(model, method, place, slots, margin=margin), source,
                  method, slots, ref, place, goal)
        inside = SparseConfig('share', margin).inside(
            place, model.patch_size).repeat_interleave(2, 1)
        inside = inside.repeat_interleave(2, 2)
        assert torch.equal(out[:, ~inside], source[:, ~inside])
        assert ((out - source)[:, inside].abs() > 1e-4).all()


@pytest.mark.parametrize('method', ['flowalign', 'flowedit'])
def test_an_empty_region_gives_the_source(model, source, method):
    nothing = Sparse(~EVERYWHERE, EditConfig(edit_method=method)).velocity(
        Denoiser(model), conditions(model, method))
    assert torch.equal(run(nothing, source, method), source)


def test_equal_prompts_give_the_source_back(model, source):
    told = conditions(model, 'flowalign', alike=True)
    out = run(sparse(model, 'flowalign', region(), told=told), source)
    torch.testing.assert_close(out, source, rtol=1e-4, atol=1e-4)


def test_a_weight_of_zero_is_no_bank(model, source):
    ref, place = RefConfig(ref_c=(0.,)), region()
    slots = reader(model, ref)
    assert torch.equal(
        run(sparse(model, 'flowalign', place, slots), source),
        run(sparse(model, 'flowalign', place), source))


def test_the_text_may_be_projected_anew(model, source):
    place = region()
    kept, anew = (
        run(sparse(model, 'flowalign', place, told=conditions(
            model, 'flowalign', cache_text=cache)), source)
        for cache in (True, False))
    torch.testing.assert_close(kept, anew, rtol=1e-5, atol=1e-5)


def test_a_model_that_sees_images_shares_too(source):
    r"""Each branch with its own frames, and its own image tokens."""
    model = WanModel(
        model_type='i2v', text_len=512, in_dim=12, out_dim=4, dim=24,
        ffn_dim=16, freq_dim=16, text_dim=8, num_heads=2, num_layers=2)
    generator = torch.Generator().manual_seed(5)
    for weight in model.parameters():
        weight.data = torch.randn(weight.shape, generator=generator) * .2
    with torch.no_grad():
        shown = {'source': 1, 'target': 2}
        made = {name: Condition(model.project_text(
            [draw(5, 8, seed=seed)], draw(1, 257, 1280, seed=seed)),
            {'y': [draw(8, *SHAPE[1:], seed=seed)]})
            for name, seed in shown.items()}
        told = {name: made[BRANCHES[name].prompt]
                for name in EDIT_METHODS['flowalign'].branches}
        plain = velocity(Denoiser(model), told)
        whole = Sparse(EVERYWHERE, EditConfig()).velocity(
            Denoiser(model), told)
        latents = {'q': source, 'ps': draw(*SHAPE), 'pt': draw(*SHAPE)}
        want, got = plain(latents, 700.), whole(latents, 700.)
        few = sparse(model, 'flowalign', region(), told=told)(latents, 700.)
    for name in latents:
        torch.testing.assert_close(got[name], want[name], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(few['q'], want['q'], rtol=1e-4, atol=1e-4)
    assert torch.equal(few['pt'][:, 0, 0], few['q'][:, 0, 0])


class Counting(torch.nn.Module):
    r"""Keeps how many tokens each forward's blocks are given."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.tokens = model, []
        self.patch_size = model.patch_size
        model.blocks[1].register_forward_pre_hook(
            lambda block, args: self.tokens.append(args[0].size(1)))

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


def test_only_the_products_tokens_are_computed(model, source):
    r"""2 rows of 3 tokens in each of 3 frames."""
    counted = Counting(model)
    run(sparse(counted, 'flowalign', region(), told=conditions(
        model, 'flowalign')), source)
    model.blocks[1]._forward_pre_hooks.clear()
    assert counted.tokens == [72 + 2 * 18] * 4


def test_what_is_left_out_is_read_from_the_source(model, source):
    r"""One block's attention by hand: own keys inside, q's elsewhere."""
    seen = {}

    def kernel(q, k, v, **more):
        if k.size(1) == 72:
            seen.setdefault(len(seen), (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(
            *(u.transpose(1, 2) for u in (q, k, v))).transpose(1, 2)

    told, place = conditions(model, 'flowalign'), region()
    tokens = token_mask(place.cells, GRID, 1e-3).nonzero().flatten()
    v = lockstep(Denoiser(model, attend=kernel), told, {'pt': tokens},
                 {'pt': 'q'})
    v({'q': source, 'pt': draw(*SHAPE, seed=2)}, 500.)
    (_, k_q, v_q), (q_p, k_p, v_p) = seen[0], seen[1]
    others = torch.ones(72, dtype=torch.bool)
    others[tokens] = False
    assert q_p.size(1) == len(tokens) == 18
    for own, rest in ((k_p, k_q), (v_p, v_q)):
        assert torch.equal(own[:, others], rest[:, others])
        assert not torch.isclose(own[:, tokens], rest[:, tokens]).all()


def test_each_edit_may_have_a_region_of_its_own(model, source):
    r"""Two edits of one source in one forward are those of two."""
    told = conditions(model, 'flowalign')
    told = {'q': told['q'], 'a': told['pt'], 'b': told['ps']}
    tokens = {'a': torch.tensor([3, 9, 50]), 'b': torch.arange(8, 40)}
    latents = {'q': source, 'a': draw(*SHAPE, seed=2),
               'b': draw(*SHAPE, seed=4)}
    v = lockstep(Denoiser(model), told, tokens, {'a': 'q', 'b': 'q'})
    both = v(latents, 700.)
    for name in 'ab':
        alone = lockstep(Denoiser(model), told, tokens, {'a': 'q', 'b': 'q'})(
            {'q': source, name: latents[name]}, 700.)
        torch.testing.assert_close(both[name], alone[name])
        torch.testing.assert_close(both['q'], alone['q'])


def test_flowedits_null_branch_reads_its_own_prompts_source(model):
    seen, told = [], conditions(model, 'flowedit')
    place = region()

    class Noting(Denoiser):
        def sharing(self, pack):
            seen.append(pack.parts)
            return super().sharing(pack)

    inside = SHARE.inside(place, model.patch_size)
    v = Sparse(inside, EditConfig(edit_method='flowedit')).velocity(
        Noting(model), told)
    q, p = draw(*SHAPE), draw(*SHAPE, seed=1)
    v({'q': q, 'q_null': q, 'p_null': p, 'pt': p}, 500.)
    q, q_null, pt, p_null = seen[0]
    assert q.tokens is None and q_null.tokens is None
    assert pt.rest == 0 and p_null.rest == 1


def test_each_window_has_its_own_tokens(model):
    r"""Where only one window is changed, the other one stays the source."""
    source = draw(4, 6, 8, 12, seed=1)
    cells = torch.zeros(6, 8, 12)
    cells[4:, 2:6, 4:10] = 1
    windows = cut(6, 3, 1)
    ref = RefConfig()
    bank = reader(model, ref).recall(1.)
    steps = {1000. * s: s for s in SIGMAS[:-1].tolist()}
    slots = Reader(lambda sigma: bank, ref, steps, (6, 4, 6),
                   Region(cells).tokens((6, 4, 6)),
                   Region(cells).boxes((6, 4, 6)))
    out = run(sparse(model, 'flowalign', Region(cells), slots,
                     windows=windows), source)
    assert torch.equal(out[:, :4], source[:, :4])
    inside = cells[4:].bool()
    assert ((out - source)[:, 4:][:, inside] != 0).all()
    assert torch.equal(out[:, 4:][:, ~inside], source[:, 4:][:, ~inside])
    # And of all tokens it is the plain run in windows.
    whole = Sparse(torch.ones(6, 4, 6).bool(), EditConfig()).velocity(
        Denoiser(model), conditions(model, 'flowalign'), slots, windows)
    plain = in_windows(
        Denoiser(model), conditions(model, 'flowalign'), windows, slots)
    torch.testing.assert_close(
        run(whole, source), run(plain, source), rtol=1e-4, atol=1e-4)


def test_the_tokens_of_a_region():
    place = region(slice(3, 4), slice(4, 5))  # one cell of a token
    inside = SHARE.inside(place, (1, 2, 2))
    assert inside.shape == GRID and inside.sum() == 3
    assert inside[:, 1, 2].all()
    wide = replace(SHARE, sparse_margin=1).inside(place, (1, 2, 2))
    assert wide.sum() == 27 and wide[:, :3, 1:4].all()
    assert Sparse(inside, EditConfig()).share == pytest.approx(1 / 24)


def test_off_or_nowhere_to_hold_to_is_a_plain_run():
    assert DENSE.inside(region(), (1, 2, 2)) is None
    assert SHARE.inside(None, (1, 2, 2)) is None
    assert SHARE.inside(Region(torch.ones(3, 8, 12)), (1, 2, 2)) is None


@pytest.mark.parametrize('given, message', [
    ({'sparse': 'on'}, "sparse is 'on', allowed: auto, off, share"),
    ({'sparse_margin': -1}, 'sparse_margin is -1, allowed is 0 to 16')])
def test_bad_settings(given, message):
    with pytest.raises(ValueError, match=message):
        SparseConfig(**given)


# As settings of a job


def job(shell, media, tmp_path, *flags):
    return prepared(*edit_flags(
        shell, media, tmp_path / 'x.mp4', '--frame_num', 5, *flags))


@pytest.mark.parametrize('flags, sparse', [
    ((), 'off'), (('--composite',), 'share'),
    (('--composite', '--sparse', 'off'), 'off'), (('--sparse', 'share'),
                                                  'share'),
    (('--composite', '--use_mask', 'false', '--use_reference', 'false'),
     'off'),
    (('--composite', '--edit_method', 'sdedit'), 'off'),
    (('--composite', '--edit_method', 'flowedit'), 'share')])
def test_auto_shares_where_the_template_is_put_back(
        shell, media, tmp_path, flags, sparse):
    made = job(shell, media, tmp_path, *flags)
    assert made.settings[SparseConfig].sparse == sparse
    assert ("the edit's on" in jobs.plan(made)) == (sparse == 'share')


def test_the_plan_tells_the_share_of_a_given_mask(shell, media, tmp_path):
    r"""box.png is a quarter of the frame."""
    plan = jobs.plan(job(shell, media, tmp_path, '--sparse', 'share',
                         '--step_cache', .1))
    assert "2 steps x 3 evaluations, the edit's on about 25% of the " \
        'tokens, fewer by step_cache 0.1' in plan
    wide = jobs.plan(job(shell, media, tmp_path, '--sparse', 'share',
                         '--sparse_margin', 1))
    assert 'about 56% of the tokens' in wide
    found = jobs.plan(job(shell, media, tmp_path, '--sparse', 'share',
                          '--src_mask', ''))
    assert "the edit's on the product's tokens" in found


def test_the_plan_has_the_memory_of_one_long_row(shell, media, tmp_path):
    flags = ('--use_reference', 'false')
    one, three, some, unknown = (
        Memory(job(shell, media, tmp_path, *flags, *more)).sampling
        for more in ((), ('--batch_branches',), ('--sparse', 'share'),
                     ('--sparse', 'share', '--src_mask', '')))
    assert some - one == pytest.approx((three - one) / 4)
    assert unknown == three


@pytest.mark.parametrize('flags, told', [
    (('--sparse_margin', 1), 'sparse_margin has no effect: all tokens are'),
    (('--sparse', 'share', '--batch_branches'),
     'batch_branches has no effect: sparse share')])
def test_what_does_nothing_is_a_note(shell, media, tmp_path, flags, told):
    made = job(shell, media, tmp_path, *flags)
    assert [n for n in made.work.notes if n.startswith(told)]


@pytest.mark.parametrize('flags, told', [
    (('--use_mask', 'false', '--use_reference', 'false'),
     "needs the product's place, which use_mask false does not look for."),
    (('--edit_method', 'sdedit'),
     'needs edit_method flowalign or flowedit, not sdedit.'),
    (('--reverse', 'clip.mp4'),
     'is not for reverse, which goes back on all tokens.'),
])
def test_what_cannot_share_is_refused(
        shell, media, tmp_path, capsys, flags, told):
    flags = [media / f if f == 'clip.mp4' else f for f in flags]
    said = failure(capsys, 2, edit_flags(
        shell, media, tmp_path / 'x.mp4', '--sparse', 'share', *flags))
    assert said.startswith('sparse share ') and told in said


@pytest.mark.parametrize('name', ['ulysses_size', 'branch_parallel'])
def test_shared_steps_are_refused(shell, media, tmp_path, name):
    settings = job(shell, media, tmp_path, '--sparse', 'share').settings
    settings = settings.having({name: 3})
    with pytest.raises(ValueError, match=(
            f'sparse share is for processes that compute all of a step, not '
            f'for {name} 3.')):
        resolved_sparse(settings, 't2v', 'flowalign')
    auto = settings.updated(
        SparseConfig(), replace(settings[EditConfig], composite=True))
    assert resolved_sparse(auto, 't2v', 'flowalign').sparse == 'off'


def test_vace_is_refused(checkpoints, media, tmp_path, capsys):
    assert 'sparse share is not for a checkpoint of type vace' in failure(
        capsys, 2, edit_flags(checkpoints('vace'), media, tmp_path / 'x.mp4',
                              '--sparse', 'share'))


def test_an_edit_keeps_the_template_outside(checkpoint, media, tmp_path):
    r"""The very latent: what differs is what the VAE's blur carries out."""
    runs = {}
    for sparse in ('off', 'share'):
        made = job(checkpoint, media, tmp_path, '--sparse', sparse,
                   '--save_comparison', 'false', '--measure_ceiling')
        result = jobs.run(made)
        found = made.record.as_dict()['results']
        assert found['sparse_on'] == (sparse == 'share')
        outside = result.mask == 0
        runs[sparse] = (result.video - result.round_trip)[:, outside].abs()
        assert (result.video - result.round_trip)[:, ~outside].abs().mean() \
            > .01
    assert runs['share'].mean() < runs['off'].mean()
