r"""Text to video against the recorded end-to-end runs."""
import pytest
import torch

from tests import goldens
from tests.recorded_runs import Recording, check_run, recorded_pipeline, small
from wan.conditioning import Condition
from wan.modules import backends
from wan.modules.model import TextKV, WanModel
from wan.text2video import WanT2V
from wan.utils.progress import Cancelled, Progress
from wan.velocity import Denoiser

CASES = goldens.case_ids('e2e_t2v')


def pipeline(inputs, sp_size=1, **machine):
    return recorded_pipeline(
        WanT2V, 't2v-1.3B', small(WanModel, 'dit_t2v'), inputs,
        sp_size=sp_size, **machine)


@pytest.mark.parametrize('case_id', CASES)
def test_recorded_run(case_id, parity):
    params, inputs, _ = goldens.case(case_id)
    check_run(case_id, pipeline(inputs, params.get('sp_size', 1)), parity,
              size=tuple(params['size']))


class Asked:
    r"""A model that keeps the seq_len it was asked with."""
    patch_size = (1, 2, 2)

    def __call__(self, x, *, seq_len, **_):
        self.seq_len = seq_len
        return x


@pytest.mark.parametrize('given, want', [
    (row['in'], row['out']) for row in goldens.table(
        'goldens/geometry')['rows'] if row['kind'] == 't2v'])
def test_shapes_are_the_recorded_ones(given, want):
    pipe = pipeline(goldens.case('e2e_t2v_unipc')[1])
    size, frames = tuple(given['size']), given['frame_num']
    if frames % 4 != 1:  # Wan2.1 makes fewer, without a word
        with pytest.raises(ValueError, match=f'frame_num is {frames}'):
            pipe.latent_shape(size, frames)
        return
    shape, model = pipe.latent_shape(size, frames), Asked()
    assert list(shape) == want['latent_shape']
    Denoiser(model, sp_size=given['sp_size'])(
        [torch.empty(shape, device='meta')], 0., Condition(()))
    assert model.seq_len == want['seq_len']


def test_noise_is_the_recorded_one():
    params, inputs, _ = goldens.case('e2e_t2v_unipc')
    pipe = pipeline(inputs)
    shape = pipe.latent_shape(tuple(params['size']), params['frame_num'])
    noise = pipe.noise(shape, pipe.generator(params['seed']))
    assert torch.equal(noise, inputs['noise'])


def generate(pipe, **changes):
    arguments = {
        'size': (32, 48), 'frame_num': 5, 'sampling_steps': 3, 'seed': 3,
        'offload_model': False} | changes
    return pipe.generate('prompt', **arguments)


@pytest.fixture
def pipe():
    return pipeline(goldens.case('e2e_t2v_unipc')[1])


def test_same_seed_same_bits_other_seed_other_video(pipe):
    first = generate(pipe)
    assert first.shape == (3, 5, 48, 32)
    assert torch.equal(first, generate(pipe))
    assert not torch.equal(first, generate(pipe, seed=4))


@pytest.mark.parametrize('machine', [{'t5_cpu': True},
                                     {'cache_text': False}])
def test_text_cache_and_offloading_change_nothing(pipe, machine):
    first = generate(pipe)
    assert torch.equal(first, generate(pipe, offload_model=True))
    other = pipeline(goldens.case('e2e_t2v_unipc')[1], **machine)
    assert torch.equal(first, generate(other))


def test_two_machines_in_one_process(pipe, monkeypatch):
    r"""Each pipeline runs on its own, in whatever order they are made."""
    seen = []
    real = backends._sdpa
    monkeypatch.setattr(backends, '_sdpa', lambda name, *a: (
        seen.append(name), real(name, *a))[1])
    inputs = goldens.case('e2e_t2v_unipc')[1]
    one = pipeline(inputs, attention='math')
    other = pipeline(inputs, attention='matmul')
    for turn, name in ((one, 'math'), (other, 'matmul'), (one, 'math')):
        seen.clear()
        generate(turn)
        assert set(seen) == {name}
    seen.clear()
    generate(pipe)
    assert set(seen) == {'sdpa'}


def test_scale_one_runs_the_prompt_alone(pipe):
    pipe.model = Recording(pipe.model)
    generate(pipe, guide_scale=1)
    assert len(pipe.model.calls) == 3


def test_other_ranks_get_nothing(pipe):
    pipe.rank = 1
    assert generate(pipe) is None


@pytest.mark.parametrize('changes, message', [
    ({'frame_num': 6}, 'frame_num is 6, allowed are 4n'),
    ({'size': (40, 48)}, 'size is 40x48, both sides must be multiples of 16'),
    ({'sample_solver': 'rk4'}, 'rk4'),
])
def test_bad_arguments(pipe, changes, message):
    with pytest.raises(ValueError, match=message):
        generate(pipe, **changes)


def test_a_non_finite_latent_stops_the_run(pipe):
    pipe.model.head.head.bias.fill_(float('nan'))
    with pytest.raises(FloatingPointError, match='step 1'):
        generate(pipe)


def test_the_text_is_projected_once_a_generation(pipe):
    pipe.model = Recording(pipe.model)
    generate(pipe)
    contexts = [call[4] for call in pipe.model.calls]
    assert len(contexts) == 6 and len(set(map(id, contexts))) == 2
    assert all(isinstance(context, TextKV) for context in contexts)


def test_progress_tells_stages_steps_and_the_latent(pipe):
    told = []
    progress = Progress(told.append)
    generate(pipe, progress=progress)
    assert list(progress.seconds) == ['encode text', 'denoise', 'decode']
    steps = [step for step in told if step.stage == 'denoise']
    assert [(s.done, s.total) for s in steps] == [
        (0, 3), (1, 3), (2, 3), (3, 3)]
    assert steps[0].eta is None and steps[1].eta > 0 == steps[3].eta
    assert all(s.latent.shape == (16, 2, 6, 4) for s in steps[1:])
    assert told[-1].stage == 'decode' and told[-1].done == told[-1].total


def test_a_cancelled_run_ends_with_its_step(pipe):
    pipe.model = Recording(pipe.model)

    def listen(step):
        if step.stage == 'denoise' and step.done == 1:
            progress.cancel()

    progress = Progress(listen)
    with pytest.raises(Cancelled, match='denoise'):
        generate(pipe, progress=progress)
    assert len(pipe.model.calls) == 2  # of the first step
