r"""Clips in windows: exact identities, and cases with a known answer."""
import weakref
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from PIL import Image

from tests import goldens
from tests.cli import failure, prepared
from tests.edits import edit_flags
from tests.recorded_runs import recorded_pipeline, small
from tests.utils.media import make_clip
from wan import jobs
from wan.conditioning import Condition
from wan.configs import WAN_CONFIGS
from wan.edit_config import EditConfig
from wan.flowalign import edit_sigmas, flowalign
from wan.modules.model import WanModel
from wan.product.masks import Region
from wan.product.photo import Product
from wan.pvtt import WanPVTT
from wan.refdrop.config import RefConfig
from wan.runtime import Runtime
from wan.samplers import denoise, make_scheduler
from wan.text2video import WanT2V
from wan.utils.progress import Progress
from wan.windows import (
    OFF,
    WHOLE,
    WindowConfig,
    check_common,
    cut,
    faded,
    windowed,
)

SOURCE, TARGET = 'a red watch on a table', 'a blue vase on a table'
# (frames, length, overlap): even, shifted back, wide overlaps, hard cuts.
CUTS = [(9, 5, 1), (9, 5, 2), (10, 5, 2), (13, 5, 4), (6, 5, 1), (7, 2, 1),
        (12, 4, 0), (4, 1, 0), (50, 21, 5)]
LONG, ONE = WindowConfig(5, 4), WindowConfig(17, 8)  # 2 latent frames, 5
FRAMES, HEIGHT, WIDTH = 13, 32, 48


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('frames, length, overlap', CUTS)
def test_windows_are_equal_and_leave_nothing_out(frames, length, overlap):
    windows = cut(frames, length, overlap)
    assert {w.stop - w.start for w in windows} == {length}
    assert windows[0].start == 0 and windows[-1].stop == frames
    shared = [a.stop - b.start for a, b in pairwise(windows)]
    assert set(shared[:-1]) <= {overlap} and shared[-1] >= overlap
    # One fewer would not do.
    assert (len(windows) - 1) * (length - overlap) + overlap < frames


@pytest.mark.parametrize('frames', [1, 4, 5])
def test_what_fits_is_one_window(frames):
    assert cut(frames, 5, 2) == [slice(0, frames)]
    assert OFF.of(frames) == [slice(0, frames)]


def test_pixels_to_latent_frames():
    assert WindowConfig(17, 8).of(9) == cut(9, 5, 2)
    assert WindowConfig(81, 20).of(40) == cut(40, 21, 5)


@pytest.mark.parametrize('frames, overlap, told', [
    (1, 4, 'window_frames is 1, allowed is 4n'),
    (18, 8, 'window_frames is 18'), (-3, 8, 'window_frames is -3'),
    (17, 17, 'window_overlap is 17, allowed with window_frames 17 are'),
    (17, 20, 'multiples of 4 up to 16'), (17, 6, 'window_overlap is 6'),
    (17, 0, 'window_overlap is 0'), (5, 8, 'up to 4')])
def test_windows_that_do_not_fit(frames, overlap, told):
    with pytest.raises(ValueError, match=told):
        WindowConfig(frames, overlap)


def weights(windows):
    r"""[windows, T]: the share of each in every frame, as it is blended."""
    parts = []
    for one in windows:
        v = windowed(lambda w, one=one: lambda latents, t: {
            'q': torch.full_like(latents['q'], float(w == one))}, windows)
        frames = windows[-1].stop
        parts.append(v({'q': torch.zeros(1, frames, 1, 1)}, 0.)['q'].flatten())
    return torch.stack(parts)


@pytest.mark.parametrize('case', CUTS)
def test_weights_sum_to_one(case):
    windows = cut(*case)
    shares = weights(windows)
    assert (shares >= 0).all()
    torch.testing.assert_close(
        shares.sum(0), torch.ones(case[0]), atol=1e-6, rtol=0)
    for window, share in zip(windows, shares, strict=True):
        inside = torch.zeros(case[0], dtype=torch.bool)
        inside[window] = True
        if window.start and case[2]:
            inside[window.start] = False  # decided by the windows before
        assert not share[~inside].any() and share[inside][0] > 0


@pytest.mark.parametrize('case', CUTS)
def test_where_windows_agree_not_a_bit_changes(case):
    r"""So the weights sum to exactly one."""
    whole = draw(3, case[0], 2, 2)
    v = windowed(
        lambda window: lambda latents, t: {'q': whole[:, window]}, cut(*case))
    assert torch.equal(v({'q': whole}, 0.)['q'], whole)


def test_ramps_are_linear():
    before, after = torch.zeros(1, 4, 1, 1), torch.ones(1, 5, 1, 1)
    assert faded(before, after, 4).flatten().tolist() == [0, .25, .5, .75, 1]
    assert faded(before, after, 0).flatten().tolist() == [0] * 4 + [1] * 5
    assert faded(before, after, 1).flatten().tolist() == [0] * 4 + [1] * 4


def linear(latents, t):
    r"""A field whose flow from noise is known: each frame goes its own way,
    v = a x + b, by a and b of what is in the frame's last channel."""
    return {name: torch.cat([x[:-1] * .5 + x[-1:], 0 * x[-1:]])
            for name, x in latents.items()}


@pytest.mark.parametrize('case', CUTS)
def test_a_field_known_in_closed_form_is_solved_across_windows(case):
    r"""x' = x / 2 + b in sigma from 1 to 0: x(0) = (x + 2 b) e^-.5 - 2 b."""
    x = draw(3, case[0], 2, 2)
    v = windowed(lambda window: linear, cut(*case))
    scheduler, timesteps = make_scheduler('euler', 400, 1., 'cpu')
    solved, plain = (denoise(
        lambda x, t, v=v: v({'cond': x}, t)['cond'], x, scheduler, timesteps)
        for v, scheduler in ((v, scheduler), (
            linear, make_scheduler('euler', 400, 1., 'cpu')[0])))
    assert torch.equal(solved, plain)
    b = x[-1:]
    want = (x[:-1] + 2 * b) * torch.exp(torch.tensor(-.5)) - 2 * b
    torch.testing.assert_close(solved[:-1], want, atol=5e-3, rtol=0)


@pytest.mark.parametrize('equal', [True, False])
def test_equal_velocities_return_the_source_bit_for_bit(equal):
    z = draw(2, 9, 2, 2)

    def of_window(window):
        # Of its place in the window: no two windows agree.
        place = torch.arange(5.)[:, None, None]
        return lambda latents, t: {
            name: x.sin() + place * (equal or name != 'pt')
            for name, x in latents.items()}

    got = flowalign(
        z, windowed(of_window, cut(9, 5, 2)), edit_sigmas(4, 3., 1.),
        torch.Generator().manual_seed(1), guide_scale=7., zeta=.1)
    assert torch.equal(got, z) == equal


def test_one_windows_memory_at_a_time():
    r"""What a window is evaluated with is gone before the next one's, and
    branches of one latent still are."""
    alive, seen = [], []

    class Own:
        def __init__(self):
            assert all(other() is None for other in alive)
            alive.append(weakref.ref(self))

        def __call__(self, latents, t):
            assert latents['ps'] is latents['pt']
            seen.append({name: x.size(1) for name, x in latents.items()})
            return {name: 2 * x for name, x in latents.items()}

    x, q = draw(1, 9, 1, 1), draw(1, 9, 1, 1, seed=1)
    out = windowed(lambda window: Own(), cut(9, 5, 2))(
        {'q': q, 'ps': x, 'pt': x}, 0.)
    assert seen == [{'q': 5, 'ps': 5, 'pt': 5}] * 3 and len(alive) == 3
    assert torch.equal(out['pt'], 2 * x) and torch.equal(out['q'], 2 * q)


def test_only_text_is_common_to_windows():
    told = {'cond': Condition((), {'y': []})}
    check_common(told, WHOLE)
    with pytest.raises(ValueError, match='text alone; this one is given y'):
        check_common(told, cut(9, 5, 2))


def test_regions_of_windows_are_joined():
    left, right = torch.zeros(2, 5, 1, 2)
    left[:, :, 0], right[:, :, 1] = 1, 1
    windows = cut(8, 5, 2)
    both = Region.over(windows, [Region(left), Region(right)])
    assert both.found and both.cells[:, 0].tolist() == \
        [[1, 0]] * 3 + [[1, 1]] * 2 + [[0, 1]] * 3
    everything = Region(torch.ones(5, 1, 2), found=False)
    one = Region.over(windows, [everything, Region(right)])
    assert one.found and one.cells[:, 0].tolist() == \
        [[0, 0]] * 3 + [[0, 1]] * 5
    assert not Region.over(windows, [everything] * 2).found


# Sampling


def generate(windows, frames=FRAMES, **changes):
    pipe = recorded_pipeline(
        WanT2V, 't2v-1.3B', small(WanModel, 'dit_t2v'),
        goldens.case('e2e_t2v_unipc')[1])
    return pipe, pipe.generate(
        'prompt', (32, 48), frames, sampling_steps=3, seed=3,
        offload_model=False, windows=windows, **changes)


def test_sampling_in_one_window_is_sampling():
    plain, one, many = (
        generate(windows)[1] for windows in (OFF, ONE, LONG))
    assert torch.equal(plain, one)
    assert many.shape == plain.shape and not torch.equal(plain, many)


# Edits


@pytest.fixture(scope='module')
def pipe(checkpoint):
    return WanPVTT(WAN_CONFIGS['t2v-tiny'], checkpoint,
                   runtime=Runtime(device='cpu', dtype='float32'))


@pytest.fixture(scope='module')
def clip():
    r"""A bright square moving over a gradient."""
    x = torch.linspace(-1, 1, WIDTH).expand(3, FRAMES, HEIGHT, WIDTH).clone()
    for t in range(FRAMES):
        x[:, t, 8:24, 2 * t:2 * t + 16] = 1
    return x


@pytest.fixture(scope='module')
def mask():
    mask = torch.zeros(FRAMES, HEIGHT, WIDTH)
    for t in range(FRAMES):
        mask[t, 8:24, 2 * t:2 * t + 16] = 1
    return mask


def product():
    image = Image.new('RGB', (60, 80), 'white')
    image.paste('teal', (15, 20, 45, 60))
    return Product(image)


def edit(pipe, clip, windows, mask=None, target=TARGET, ref=None, **options):
    return pipe.generate(
        clip, [product()], SOURCE, target, src_mask=mask, seed=7,
        edit=EditConfig(**{'sample_steps': 3, 'sample_guide_scale': 3.,
                           'bg_zeta_scale': .01, **options}),
        ref=RefConfig(**{'ref_c': (.5,), **(ref or {})}), windows=windows,
        round_trip=False)


@pytest.mark.parametrize('ref', [
    {}, {'ref_rope': 'box'}, {'ref_t': 'match', 'ref_branches': 'split'},
    {'ref_rope': 'tail', 'ref_gate': 'joint'}])
@pytest.mark.parametrize('given', [True, False])
def test_an_edit_in_one_window_is_an_edit(pipe, clip, mask, ref, given):
    mask = mask if given else None
    plain, one, many = (edit(pipe, clip, windows, mask, ref=ref).video
                        for windows in (OFF, ONE, LONG))
    assert torch.equal(plain, one)
    assert not torch.equal(plain, many)


@pytest.mark.parametrize('method', ['flowalign', 'flowedit', 'sdedit'])
def test_branches_in_one_batch_or_apart(pipe, clip, mask, method):
    apart, batch = (edit(
        pipe, clip, LONG, mask, edit_method=method, batch_branches=batch)
        for batch in (False, True))
    torch.testing.assert_close(apart.video, batch.video, atol=1e-3, rtol=0)


def test_equal_prompts_return_the_source(pipe, clip):
    scene = pipe.read(clip, dict.fromkeys(
        ('source', 'target', 'null'), SOURCE), {}, 7, False, Progress())
    config = EditConfig(sample_steps=3, sample_guide_scale=9.)
    v = pipe.velocity(pipe.conditions(scene).of_branches('flowalign'),
                      windows=LONG.of(scene.latent.size(1)))
    assert torch.equal(
        pipe.edit(scene, v, config, Progress()), scene.latent)


@pytest.mark.parametrize('sigmas, captured', [('0', 1), ('match', 2)])
def test_the_bank_is_captured_once(
        pipe, clip, mask, sigmas, captured, monkeypatch):
    r"""Of the loop, or of each of its steps; the windows see 2 frames."""
    seen = []

    def forward(x, **rest):
        seen.append(x[0].size(1))
        return own(x, **rest)

    own = pipe.model.forward
    monkeypatch.setattr(pipe.model, 'forward', forward)
    edit(pipe, clip, LONG, mask, ref={'ref_t': sigmas})
    assert seen.count(1) == captured
    assert seen.count(2) == 2 * 3 * 3  # steps, branches, windows
    assert len(seen) == captured + 18


def test_a_reader_of_some_frames_reads_in_them_alone(pipe, clip, mask):
    scene = pipe.read(clip, {'source': SOURCE, 'target': TARGET,
                             'null': ''}, {}, 7, False, Progress())
    config = EditConfig(sample_steps=3)
    ref = RefConfig(ref_rope='box')
    cells = torch.zeros(scene.latent.shape[1:])
    cells[2:, :2, :2] = 1
    reader = pipe.remember(
        scene, pipe.encode_photos(scene, [product()], ref, Progress()),
        pipe.conditions(scene), config, ref, Region(cells), Progress())
    early, late = reader.part(slice(0, 2)), reader.part(slice(1, 3))
    t = max(reader.steps)
    assert reader.reads('pt', t) and late.reads('pt', t)
    assert not early.reads('pt', t)  # no product there
    assert late.grid == (2, *reader.grid[1:])
    assert torch.equal(late.boxes, reader.boxes[1:3])
    assert torch.equal(
        late.mask, reader.mask.view(reader.grid)[1:3].flatten())
    assert late.recall is reader.recall
    everywhere = replace(reader, mask=None, boxes=None).part(slice(1, 3))
    assert everywhere.mask is None and everywhere.boxes is None


# The tasks


@pytest.fixture(scope='module')
def long_clip(media):
    return make_clip(media / 'long.mp4', source='testsrc=s=128x128:r=16:d=3')


def test_a_long_template_is_edited_whole(shell, media, long_clip, tmp_path):
    def job(*more):
        flags = edit_flags(shell, media, tmp_path / 'x.mp4',
                           '--src_video', long_clip, *more)
        at = flags.index('--frame_num')  # that of one frame
        return prepared(*flags[:at], *flags[at + 2:])

    assert job().work.frame_num == 17
    long = job('--window_frames', 17)
    assert long.work.frame_num == 45
    assert '4 of 17 frames, neighbours share 8 or more' in jobs.plan(long)
    assert 'steps x 4 windows x 3 evaluations' in jobs.plan(long)
    part = job('--window_frames', 17, '--frame_num', 33)
    assert part.work.frame_num == 33
    assert jobs.plan(long).split('sampling ')[2].split(',')[0] == \
        jobs.plan(part).split('sampling ')[2].split(',')[0]


@pytest.mark.parametrize('flags, told', [
    (('--window_overlap', 4), 'window_overlap has no effect: without'),
    (('--window_frames', 17, '--window_overlap', 4),
     'window_frames, window_overlap have no effect: the 5 frames fit'),
    (('--window_frames', 17), 'window_frames has no effect: the 5 frames')])
def test_windows_that_do_nothing_are_a_note(
        shell, media, tmp_path, flags, told):
    edited = prepared(*edit_flags(
        shell, media, tmp_path / 'x.mp4', '--frame_num', 5, *flags))
    sampled = prepared(
        '--task', 't2v-tiny', '--ckpt_dir', shell, '--size', '128*128',
        '--frame_num', 5, '--prompt', 'x', '--save_file',
        tmp_path / 'y.mp4', *flags)
    for job in (edited, sampled):
        assert [n for n in job.work.notes if n.startswith(told)]


@pytest.mark.parametrize('task', ['t2i-14B', 'i2v-14B', 'flf2v-14B',
                                  'vace-14B'])
def test_tasks_without_windows_refuse_them(task, capsys):
    said = failure(capsys, 2, ['--task', task, '--window_frames', 17])
    assert said.startswith(
        f'window_frames is not a setting of task {task}; it is one of')


@pytest.mark.parametrize('kind', ['i2v', 'flf2v', 'vace'])
def test_checkpoints_that_see_the_whole_clip_refuse_them(
        checkpoints, kind, media, tmp_path, capsys):
    assert f'window_frames is a setting of checkpoints of type t2v; this ' \
        f'one is of type {kind}.' in failure(capsys, 2, edit_flags(
            checkpoints(kind), media, tmp_path / 'x.mp4',
            '--window_frames', 17))
