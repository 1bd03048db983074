r"""Image to video against the recorded runs."""
import pytest
import torch
from PIL import Image

from tests import goldens
from tests.recorded_runs import (
    Eyes,
    check_run,
    image_model,
    picture,
    recorded_pipeline,
    shown,
)
from wan.configs import WAN_CONFIGS
from wan.image2video import WanI2V
from wan.runtime import Runtime
from wan.utils.progress import Progress

CASES = goldens.case_ids('e2e_i2v')
CONFIG = WAN_CONFIGS['i2v-14B']


def pipeline(inputs, **machine):
    return recorded_pipeline(
        WanI2V, 'i2v-14B', image_model('dit_i2v_e2e'), inputs, Eyes(),
        **machine)


@pytest.mark.parametrize('case_id', CASES)
def test_recorded_run(case_id, parity):
    params, inputs, _ = goldens.case(case_id)
    check_run(case_id, pipeline(inputs), parity,
              img=picture(inputs['image']), max_area=params['max_area'])


@pytest.fixture
def inputs():
    return goldens.case('e2e_i2v_unipc')[1]


@pytest.fixture
def pipe(inputs):
    return pipeline(inputs)


@pytest.fixture
def image(inputs):
    return picture(inputs['image'])


def generate(pipe, image, **changes):
    return pipe.generate('prompt', image, **{
        'max_area': 3072, 'frame_num': 5, 'sampling_steps': 2, 'seed': 3,
        'offload_model': False} | changes)


def test_same_seed_same_bits_other_image_other_video(pipe, image):
    first = generate(pipe, image)
    assert first.shape == (3, 5, 32, 64)
    assert torch.equal(first, generate(pipe, image))
    assert not torch.equal(first, generate(pipe, image, seed=4))
    assert not torch.equal(
        first, generate(pipe, image.transpose(Image.Transpose.ROTATE_180)))


@pytest.mark.parametrize('blind', ('clip_fea', 'mask', 'latent'))
def test_each_thing_the_model_is_shown_matters(pipe, image, blind):
    first = generate(pipe, image)
    condition = pipe.condition

    def without(embedding, clip_fea, y):
        part = {'mask': y[:4], 'latent': y[4:], 'clip_fea': clip_fea}[blind]
        part.zero_()
        return condition(embedding, clip_fea=clip_fea, y=y)

    pipe.condition = without
    assert not torch.equal(first, generate(pipe, image))


def test_one_frame_is_the_image_alone(pipe, image):
    seen = shown(pipe)
    assert generate(pipe, image, frame_num=1).shape == (3, 1, 32, 64)
    assert seen['y'].shape == (20, 1, 4, 8)
    assert (seen['y'][:4] == 1).all()


def test_what_is_transparent_is_white(pipe, image):
    cut = image.convert('RGBA')
    cut.putalpha(Image.linear_gradient('L').resize(image.size))
    white = Image.new('RGBA', image.size, 'white')
    assert torch.equal(
        generate(pipe, cut),
        generate(pipe, Image.alpha_composite(white, cut).convert('RGB')))


@pytest.mark.parametrize('machine', [{'cache_text': False}, {'t5_cpu': True}])
def test_text_cache_and_offloading_change_nothing(
        pipe, inputs, image, machine):
    first = generate(pipe, image)
    assert torch.equal(first, generate(pipe, image, offload_model=True))
    assert torch.equal(first, generate(pipeline(inputs, **machine), image))


def test_progress_tells_the_stages_in_order(pipe, image):
    progress = Progress()
    generate(pipe, image, progress=progress)
    assert list(progress.seconds) == [
        'encode text', 'encode image', 'encode', 'denoise', 'decode']


@pytest.mark.parametrize('changes, message', [
    ({'frame_num': 6}, 'frame_num is 6, allowed are 4n'),
    ({'max_area': 100}, 'size is 0x0, both sides must be multiples of 16'),
    ({'sample_solver': 'rk4'}, 'rk4')])
def test_bad_arguments(pipe, image, changes, message):
    with pytest.raises(ValueError, match=message):
        generate(pipe, image, **changes)


def test_a_checkpoint_of_another_type_is_refused(checkpoints):
    with pytest.raises(ValueError, match='WanI2V needs a model of type i2v, '
                       'this one is of type flf2v'):
        WanI2V(CONFIG, checkpoints('flf2v'),
               runtime=Runtime(device='cpu'))


@pytest.mark.parametrize('early', (True, False))
def test_the_transformer_waits_on_the_cpu(
        checkpoints, monkeypatch, early):
    moved = []
    monkeypatch.setattr(torch.nn.Module, 'to', lambda self, *args: (
        moved.append(type(self).__name__), self)[1])
    WanI2V(CONFIG, checkpoints('i2v'), init_on_cpu=early)
    assert ('WanModel' in moved) is not early
