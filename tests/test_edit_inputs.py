r"""Edits on checkpoints that are shown more than text."""
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import generate
from tests.cli import failure, hollow, prepared, result
from tests.edits import edit_flags
from wan import jobs
from wan.configs import WAN_CONFIGS
from wan.edit_config import EditConfig
from wan.edit_inputs import SIGHTS, Conditions, Seen, Shown
from wan.edit_steps import with_lead
from wan.product.masks import Region
from wan.product.photo import Product
from wan.pvtt import WanPVTT
from wan.refdrop.config import RefConfig
from wan.runtime import Runtime
from wan.utils.progress import Progress

FRAMES, HEIGHT, WIDTH = 5, 64, 96
PROMPTS = {'source': 'a red watch on a table',
           'target': 'a blue vase on a table', 'null': 'nothing'}
SHOWING = ('i2v', 'flf2v', 'vace')


@pytest.fixture(scope='module')
def pipes(checkpoints):
    r"""A pipeline of each model type."""
    made = {}

    def of_type(model_type):
        if model_type not in made:
            made[model_type] = WanPVTT(
                WAN_CONFIGS[f'{model_type}-14B'], checkpoints(model_type),
                runtime=Runtime(device='cpu', dtype='float32'))
        return made[model_type]

    return of_type


@pytest.fixture(scope='module')
def clip():
    r"""A bright square moving over a gradient."""
    x = torch.linspace(-1, 1, WIDTH).expand(3, FRAMES, HEIGHT, WIDTH).clone()
    for t in range(FRAMES):
        x[:, t, 16:40, 8 + 4 * t:32 + 4 * t] = 1
    return x


@pytest.fixture(scope='module')
def mask():
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, 16:40, 8:48] = 1
    return mask


def photo(colour):
    image = Image.new('RGB', (60, 80), 'white')
    image.paste(colour, (15, 20, 45, 60))
    return Product(image)


TEAL = photo('teal')


def edited(pipe, clip, mask, products=(TEAL,), **options):
    names = {'frames', 'context_scale', 'use_mask', 'ref_bank'}
    given = {k: options.pop(k) for k in names & set(options)}
    return pipe.generate(
        clip, products, PROMPTS['source'], PROMPTS['target'], seed=7,
        edit=EditConfig(sample_steps=3, sample_guide_scale=5., **options),
        src_mask=mask, round_trip=False, **given).video


def seen(pipe, clip, mask, products=(TEAL,), **given):
    r"""What the branches of an edit inside a mask see."""
    scene = pipe.read(clip, PROMPTS, {}, 7, False, Progress())
    region = None if mask is None else Region.given(mask, scene.latent.shape)
    return pipe.sight(Shown(clip, products, mask, **given), False, Progress()
                      ).seen(region)


def encoded(pipe, video):
    return pipe.encode_video(video, Progress())


@pytest.mark.parametrize('model_type', SIGHTS)
def test_equal_inputs_and_prompts_give_the_source_back(
        checkpoint, pipes, clip, mask, model_type):
    pipe = WanPVTT(WAN_CONFIGS['t2v-tiny'], checkpoint) \
        if model_type == 't2v' else pipes(model_type)
    scene = pipe.read(
        clip, PROMPTS | {'target': PROMPTS['source']}, {}, 7, False,
        Progress())
    # Of one length: no photos in front.
    shown = seen(pipe, clip, mask, [] if model_type == 'vace' else [TEAL])
    config = EditConfig(sample_steps=4, sample_guide_scale=5.)
    conditions = Conditions(pipe, scene.prompts)

    def result_of(shown):
        v = pipe.velocity(conditions.of_branches('flowalign', shown))
        return pipe.edit(scene, v, config, Progress())

    same = result_of(Seen(shown.template, shown.template))
    assert torch.equal(same, scene.latent)
    if model_type != 't2v':
        assert not torch.equal(result_of(shown), scene.latent)


@pytest.mark.parametrize('model_type', SHOWING)
def test_the_source_never_sees_the_photo(pipes, clip, mask, model_type):
    pipe = pipes(model_type)
    teal, red = (seen(pipe, clip, mask, [photo(c)]) for c in ('teal', 'red'))
    none = seen(pipe, clip, mask, [])
    for name, value in teal.template.items():
        for other in (red, none):
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(
                other.template[name]))
    assert any(
        not torch.equal(torch.as_tensor(value), torch.as_tensor(
            red.edit[name])) for name, value in teal.edit.items())


@pytest.mark.parametrize('model_type', SHOWING)
def test_the_photo_and_what_is_shown_change_the_edit(
        pipes, clip, mask, model_type):
    pipe = pipes(model_type)
    # Neither the collage nor the bank tells of the photo.
    plain = {'collage_zeta_scale': 0.}
    teal = edited(pipe, clip, mask, **plain)
    assert torch.equal(teal, edited(pipe, clip, mask, **plain))
    assert not torch.equal(teal, edited(pipe, clip, mask, [photo('red')],
                                        **plain))


def test_the_first_frame_is_pasted_inside_the_product_only(pipes, clip, mask):
    pipe = pipes('i2v')
    shown = seen(pipe, clip, mask)
    y = shown.edit['y']
    assert torch.equal(y[:4, 0], torch.ones_like(y[:4, 0]))
    assert not y[:4, 1:].any()
    given = F.pad(clip[:, :1], (0, 0, 0, 0, 0, FRAMES - 1))
    assert torch.equal(shown.template['y'][4:], encoded(pipe, given))
    # A frame that is given is shown as it is.
    grey = torch.zeros(3, HEIGHT, WIDTH)
    told = seen(pipe, clip, None, [], frames={'first': grey}).edit
    assert torch.equal(told['y'][4:], encoded(pipe, torch.zeros_like(given)))
    assert not torch.equal(told['clip_fea'], shown.template['clip_fea'])


def test_both_ends_are_shown_to_a_model_of_both(pipes, clip, mask):
    y = seen(pipes('flf2v'), clip, mask).edit['y']
    assert y[:4, 0].min() == 1
    # Of the four frames of the last cell only the last is known.
    assert y[:4, 1].flatten(1).amax(1).tolist() == [0, 0, 0, 1]
    # Another last frame says nothing of the first.
    grey = torch.zeros(3, HEIGHT, WIDTH)
    other = seen(pipes('flf2v'), clip, mask, frames={'last': grey}).edit['y']
    assert torch.equal(other[4:, 0], y[4:, 0])
    assert not torch.equal(other[4:, 1], y[4:, 1])


def test_vace_sees_grey_inside_a_grown_blocky_mask(pipes, clip, mask):
    pipe = pipes('vace')
    shown = seen(pipe, clip, mask)
    q, p = (shown.template['vace_context'], shown.edit['vace_context'])
    cells = encoded(pipe, clip).shape[1:]
    # 40 x 24 pixels at (8, 16) grown by 10 reach into these blocks of 32.
    grown = torch.zeros(HEIGHT, WIDTH)
    grown[:64, :64] = 1
    assert not q[32:].any()
    assert torch.equal(p[32:, 1:].amax(0), F.max_pool2d(
        grown[None], 8)[0].expand(cells))
    assert torch.equal(q[:16], encoded(pipe, clip))
    nothing = encoded(pipe, torch.zeros_like(clip))
    assert torch.equal(q[16:32], nothing)
    # Nothing of the old product is in the edit's, inside or outside.
    assert torch.equal(p[:16, 1:], encoded(pipe, clip * (1 - grown)))
    assert torch.equal(p[16:32, 1:], nothing)


def test_vace_references_stand_in_front_on_white(pipes, clip, mask):
    pipe = pipes('vace')
    products = [photo('teal'), photo('red')]
    shown = seen(pipe, clip, mask, products)
    assert shown.lead.shape[1] == 2
    assert shown.edit['vace_context'].size(1) == 2 + shown.template[
        'vace_context'].size(1)
    rgb, alpha = products[1].fitted((WIDTH, HEIGHT))
    assert torch.equal(
        shown.lead[:, 1:], encoded(pipe, rgb * alpha + (1 - alpha)))
    assert torch.equal(shown.edit['vace_context'][:16, :2], shown.lead)
    assert not shown.edit['vace_context'][16:, :2].any()
    assert seen(pipe, clip, mask, []).lead is None


def test_without_a_mask_vace_makes_everything(pipes, clip):
    context = seen(pipes('vace'), clip, None, []).edit['vace_context']
    assert context[32:].min() == 1


def test_a_context_of_no_weight_is_none(pipes, clip, mask):
    r"""Then the photos in front are all that VACE adds."""
    pipe = pipes('vace')
    scene = pipe.read(clip, PROMPTS, {}, 7, False, Progress())
    conditions = Conditions(pipe, scene.prompts)
    shown = seen(pipe, clip, mask, [], context_scale=0.)
    v, plain = (
        pipe.velocity(conditions.of_branches('flowalign', what))(
            {'pt': scene.latent}, 500.)['pt']
        for what in (shown, Seen()))
    assert torch.allclose(v, plain, atol=1e-6)


@pytest.mark.parametrize('model_type', SHOWING)
def test_a_batch_of_branches_is_the_branches(pipes, clip, mask, model_type):
    pipe = pipes(model_type)
    one, many = (edited(pipe, clip, mask, batch_branches=batch)
                 for batch in (False, True))
    assert torch.allclose(one, many, atol=2e-3)
    assert (one - many).abs().mean() < 1e-4


@pytest.mark.parametrize('model_type', SHOWING)
def test_a_photo_is_captured_as_what_it_is(pipes, clip, mask, model_type):
    pipe = pipes(model_type)
    scene = pipe.read(clip, PROMPTS, {}, 7, False, Progress())
    products = [TEAL]
    sight = pipe.sight(Shown(clip, products, mask), False, Progress())
    kept = pipe.encode_photos(
        scene, products, RefConfig(), Progress(), sight=sight)
    if model_type == 'vace':
        assert not kept.inputs[0]
    else:
        # It is its own first frame, and all of the video.
        y = kept.inputs[0]['y']
        assert y.size(1) == 1 and y[:4].min() == 1
        assert torch.equal(y[4:], kept.latents[0])


def test_what_comes_in_front_does_not_read():
    tokens = torch.tensor([True, False] * 3)
    boxes = torch.arange(4).view(1, 4)
    grid, reading, found = with_lead(2, (1, 2, 3), tokens, boxes)
    assert grid == (3, 2, 3)
    assert reading.tolist() == [False] * 12 + tokens.tolist()
    assert torch.equal(found, boxes.expand(3, 4))
    _, reading, found = with_lead(1, (1, 2, 3), None, None)
    assert reading.tolist() == [False] * 6 + [True] * 6
    assert found is None


def test_vace_finds_the_product_by_itself(pipes, clip):
    pipe = pipes('vace')
    made = pipe.generate(
        clip, [TEAL], PROMPTS['source'], PROMPTS['target'], seed=7,
        edit=EditConfig(sample_steps=2, sample_guide_scale=2.),
        round_trip=False)
    assert made.mask is not None and made.used['reference']


def test_conditions_are_made_once(pipes, clip, mask):
    pipe = pipes('vace')
    scene = pipe.read(clip, PROMPTS, {}, 7, False, Progress())
    conditions = Conditions(pipe, scene.prompts)
    shown = seen(pipe, clip, mask)
    made = conditions.of_branches('flowalign', shown)
    assert made['pt'] is made['ptr'] is conditions('target', shown.edit)
    assert made['q'] is not made['ps']
    assert conditions.of_branches('flowalign')['q'] is conditions.of_branches(
        'flowalign')['ps']


def flags(folder, media, path, *more):
    return edit_flags(folder, media, path, '--size', '128*128',
                      '--frame_num', 5, *more)


@pytest.mark.parametrize('model_type', SHOWING)
def test_an_edit_through_the_program(
        checkpoints, media, tmp_path, model_type):
    path = tmp_path / 'out.mp4'
    argv = flags(checkpoints(model_type), media, path, '--sample_steps', '2')
    planned = prepared(*argv).stages
    record = result(generate.main(argv), path)
    assert set(record['seconds']) == set(planned)
    assert record['results']['mask_on'] and record['results']['reference_on']


@pytest.mark.parametrize('model_type, more, says', [
    ('t2v', ('--first_frame', 'plain.png'), 'of type i2v and flf2v; this'),
    ('i2v', ('--last_frame', 'plain.png'), 'of type flf2v; this one is of'),
    ('i2v', ('--context_scale', '1'), 'context_scale is a setting of'),
    ('i2v', ('--use_mask', 'false'), 'first_frame is missing: a checkpoint'),
    ('flf2v', ('--use_reference', 'false', '--first_frame', 'plain.png'),
     'last_frame is missing: a checkpoint'),
    ('i2v', ('--first_frame', 'none.png'), 'none.png is not an existing'),
    ('vace', ('--ref_branches', 'all'), 'ref_branches all reads the photo'),
])
def test_what_a_type_does_not_take_is_refused(
        checkpoints, media, tmp_path, capsys, model_type, more, says):
    shell = hollow(checkpoints(model_type), tmp_path / 'shell')
    more = [media / m if m.endswith('.png') else m for m in more]
    assert says in failure(capsys, 2, flags(
        shell, media, tmp_path / 'out.mp4', *more))
    assert not (tmp_path / 'out.mp4').exists()


def test_a_first_frame_needs_neither_photo_nor_mask(
        checkpoints, media, tmp_path):
    job = prepared(*flags(
        checkpoints('i2v'), media, tmp_path / 'out.mp4', '--use_reference',
        'false', '--use_mask', 'false', '--measure', 'false',
        '--sample_steps', '2', '--first_frame', media / 'plain.png'))
    assert job.work.data.frames['first'].shape == (3, 128, 128)
    assert jobs.run(job).video.shape == (3, 5, 128, 128)
