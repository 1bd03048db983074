r"""Text to video against the recorded end-to-end runs."""
import pytest
import torch
from easydict import EasyDict

from tests import goldens
from wan.modules.model import TextContext, WanModel
from wan.modules.vae import WanVAE, WanVAE_
from wan.text2video import WanT2V

CASES = goldens.case_ids('e2e_t2v')


class Encoder:
    r"""Gives the recorded embeddings in place of a text encoder's."""

    def __init__(self, prompts):
        self.prompts = prompts
        self.model = torch.nn.Identity()

    def __call__(self, texts, device):
        return [self.prompts[text].to(device) for text in texts]


def small(cls, name, **attributes):
    kwargs, state = goldens.weights(name)
    model = cls(**kwargs)
    model.load_state_dict(state)
    return model.eval()


def pipeline(inputs, sp_size=1):
    pipe = WanT2V.__new__(WanT2V)
    vae = WanVAE.__new__(WanVAE)
    vae.dtype, vae.device = torch.float32, torch.device('cpu')
    _, _, scale = goldens.case('vae_constants')
    vae.mean, vae.std = scale['mean'], scale['std']
    vae.scale = [vae.mean, 1 / vae.std]
    vae.model = small(WanVAE_, 'vae')
    vars(pipe).update(
        device=torch.device('cpu'), config=EasyDict(), rank=0, t5_cpu=False,
        num_train_timesteps=1000, param_dtype=torch.float32,
        text_encoder=Encoder({
            'prompt': inputs['context'], 'negative': inputs['context_null']}),
        vae_stride=(4, 8, 8), patch_size=(1, 2, 2), vae=vae,
        model=small(WanModel, 'dit_t2v'), sample_neg_prompt='negative',
        sp_size=sp_size)
    return pipe


class Recording(torch.nn.Module):
    r"""The model, its calls kept."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.calls = []

    def forward(self, x, t, context, seq_len):
        out = self.model(x, t=t, context=context, seq_len=seq_len)
        self.calls.append((x[0], t, seq_len, out[0]))
        return out


@pytest.mark.parametrize('case_id', CASES)
def test_recorded_run(case_id, parity):
    params, inputs, want = goldens.case(case_id)
    pipe = pipeline(inputs, params.get('sp_size', 1))
    pipe.model = Recording(pipe.model)
    decoded = []
    decode, pipe.vae.decode = pipe.vae.decode, lambda zs: (
        decoded.append(zs[0]), decode(zs))[1]
    video = pipe.generate(
        'prompt', size=tuple(params['size']), frame_num=params['frame_num'],
        shift=params['shift'], sample_solver=params['solver'],
        sampling_steps=params['steps'], guide_scale=params['guide_scale'],
        seed=params['seed'], offload_model=False)
    calls = pipe.model.calls
    assert len(calls) == 2 * params['steps']
    torch.testing.assert_close(
        torch.cat([t for _, t, _, _ in calls[::2]]).float(),
        want['timesteps'].float(), rtol=0, atol=1e-4)
    assert {n for _, _, n, _ in calls} == {int(want['seq_len'])}
    latents = torch.stack([x for x, _, _, _ in calls[::2]] + decoded)
    parity(f'{case_id} latents', goldens.relative_error(
        latents, want['latents']))
    for name, call in (('cond_first', 0), ('uncond_first', 1),
                       ('cond_last', -2), ('uncond_last', -1)):
        parity(f'{case_id} {name}', goldens.relative_error(
            calls[call][3], want[name]))
    if 'video' in want:
        parity(f'{case_id} video', goldens.relative_error(
            video, want['video']))


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


def test_text_cache_and_offloading_change_nothing(pipe):
    first = generate(pipe)
    assert torch.equal(first, generate(pipe, offload_model=True))
    pipe.t5_cpu = True
    assert torch.equal(first, generate(pipe))
    pipe.cache_text = False
    assert torch.equal(first, generate(pipe))


def test_the_device_may_be_its_name(pipe):
    first = generate(pipe)
    pipe.device = 'cpu'
    assert torch.equal(first, generate(pipe))


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


def test_context_belongs_to_one_generation(pipe):
    contexts = pipe.encode_text(['prompt', 'negative'], False)
    assert all(isinstance(c, TextContext) and not c.projected
               for c in contexts)
