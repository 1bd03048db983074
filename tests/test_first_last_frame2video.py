r"""First-last frame to video against the recorded runs."""
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
from wan.first_last_frame2video import WanFLF2V
from wan.runtime import Runtime

OTHER_SIZE = 'e2e_flf2v_other_size'
# Upstream crops a last frame of another size with its sides swapped.
CASES = [case for case in goldens.case_ids('e2e_flf2v') if case != OTHER_SIZE]


def pipeline(inputs, **machine):
    return recorded_pipeline(
        WanFLF2V, 'flf2v-14B', image_model('dit_flf2v_e2e'), inputs, Eyes(),
        **machine)


def frames(inputs):
    return [picture(inputs[f'{name}_frame']) for name in ('first', 'last')]


@pytest.mark.parametrize('case_id', CASES)
def test_recorded_run(case_id, parity):
    params, inputs, _ = goldens.case(case_id)
    first, last = frames(inputs)
    check_run(case_id, pipeline(inputs), parity, first_frame=first,
              last_frame=last, max_area=params['max_area'])


def generate(pipe, first, last, **changes):
    return pipe.generate('prompt', first, last, **{
        'max_area': 1536, 'frame_num': 5, 'sampling_steps': 2, 'seed': 3,
        'offload_model': False} | changes)


def test_but_for_a_last_frame_of_another_size(parity):
    params, inputs, want = goldens.case(OTHER_SIZE)
    pipe = pipeline(inputs)
    seen = shown(pipe)
    generate(pipe, *frames(inputs), frame_num=params['frame_num'],
             seed=params['seed'], sampling_steps=1)
    y, clip_fea = want['y'], want['clip_fea']
    # The first frame's, the mask, and what is causally before the last.
    for name, got, known in (
            ('clip_fea of the first', seen['clip_fea'][:1], clip_fea[:1]),
            ('mask', seen['y'][:4], y[:4]),
            ('y before the last', seen['y'][:, :-1], y[:, :-1])):
        parity(f'{OTHER_SIZE} {name}', goldens.relative_error(got, known))
    assert goldens.relative_error(seen['y'][:, -1], y[:, -1]) > 0.01
    assert goldens.relative_error(
        seen['clip_fea'][1:], clip_fea[1:]) > 0.01


@pytest.fixture
def inputs():
    return goldens.case('e2e_flf2v_same_size')[1]


@pytest.fixture
def pipe(inputs):
    return pipeline(inputs)


@pytest.mark.parametrize('size, box', (
    ((180, 40), (60, 0, 120, 40)), ((60, 120), (0, 40, 60, 80))))
def test_a_last_frame_of_another_shape_is_cropped_at_its_centre(
        pipe, inputs, size, box):
    first, last = frames(inputs)
    wide = Image.new('RGB', size, 'magenta')
    wide.paste(last, box)
    assert torch.equal(generate(pipe, first, wide),
                       generate(pipe, first, last))


@pytest.mark.parametrize('times', (2, 5))
def test_a_last_frame_of_another_scale_is_resized(pipe, inputs, times):
    first = frames(inputs)[0]
    seen = shown(pipe)
    generate(pipe, first, Image.new('RGB', first.size, (10, 130, 250)))
    plain = dict(seen)
    generate(pipe, first, Image.new(
        'RGB', (times * first.width, times * first.height), (10, 130, 250)))
    for name, value in plain.items():
        torch.testing.assert_close(seen[name], value)


def test_first_and_last_have_their_places(pipe, inputs):
    first, last = frames(inputs)
    seen = shown(pipe)
    one = generate(pipe, first, last)
    there = dict(seen)
    other = generate(pipe, last, first)
    assert one.shape == other.shape == (3, 5, 32, 48)
    assert not torch.equal(one, other)
    assert torch.equal(there['clip_fea'].flip(0), seen['clip_fea'])
    assert torch.equal(there['y'][:4], seen['y'][:4])


@pytest.mark.parametrize('frame_num', (5, 9, 13))
def test_any_length(pipe, inputs, frame_num):
    seen = shown(pipe)
    made = generate(pipe, *frames(inputs), frame_num=frame_num)
    assert made.shape == (3, frame_num, 32, 48)
    mask = seen['y'][:4, :, 0, 0].T
    assert mask.sum() == 5 and mask[0].sum() == 4
    assert mask[-1].tolist() == [0, 0, 0, 1]


def test_same_seed_same_bits_however_it_is_computed(pipe, inputs):
    first = generate(pipe, *frames(inputs))
    assert torch.equal(first, generate(pipe, *frames(inputs)))
    assert torch.equal(first, generate(
        pipeline(inputs, cache_text=False), *frames(inputs)))
    assert not torch.equal(first, generate(pipe, *frames(inputs), seed=4))


@pytest.mark.parametrize('changes, message', [
    ({'frame_num': 1}, 'frame_num is 1: a first and a last frame need at '
     'least 5'),
    ({'frame_num': 6}, 'frame_num is 6, allowed are 4n')])
def test_bad_arguments(pipe, inputs, changes, message):
    with pytest.raises(ValueError, match=message):
        generate(pipe, *frames(inputs), **changes)


def test_a_checkpoint_of_another_type_is_refused(checkpoints):
    with pytest.raises(ValueError, match='WanFLF2V needs a model of type '
                       'flf2v, this one is of type i2v'):
        WanFLF2V(WAN_CONFIGS['flf2v-14B'], checkpoints('i2v'),
                 runtime=Runtime(device='cpu'))
