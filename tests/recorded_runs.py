r"""Whole runs as they were recorded: stand-ins for the parts, and the check."""
import torch
from easydict import EasyDict
from PIL import Image

from tests import goldens
from wan.configs import WAN_CONFIGS
from wan.modules.blocks import MLPProj
from wan.modules.clip import CLIPModel, XLMRobertaCLIP
from wan.modules.model import WanModel
from wan.modules.vae import WanVAE, WanVAE_
from wan.pipeline import Parts
from wan.runtime import Runtime
from wan.utils.sizes import CLIP_SIZES


class Encoder:
    r"""Gives the recorded embeddings in place of a text encoder's."""

    def __init__(self, prompts):
        self.prompts = prompts
        self.model = torch.nn.Identity()

    def __call__(self, texts, device):
        return [self.prompts[text].to(device) for text in texts]


def small(cls, name):
    r"""A recorded network."""
    kwargs, state = goldens.weights(name)
    model = cls(**kwargs)
    model.load_state_dict(state)
    return model.eval()


class Decoder(WanVAE):
    r"""The recorded network in place of one from a file."""

    def __init__(self):
        self.tile = None
        _, _, scale = goldens.case('vae_constants')
        self.scale = [scale['mean'], 1 / scale['std']]
        self.model = small(WanVAE_, 'vae')


class Recording(torch.nn.Module):
    r"""The model, its calls kept."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.calls = []

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.model, name)

    def forward(self, x, t, context, seq_len, **others):
        out = self.model(x, t=t, context=context, seq_len=seq_len, **others)
        self.calls.append((x[0], t, seq_len, out[0], context))
        return out


class Eyes(CLIPModel):
    r"""The recorded visual tower in place of one from a file."""

    def __init__(self):
        kwargs, state = goldens.weights('clip')
        self.model = XLMRobertaCLIP(**{
            k: v for k, v in kwargs.items() if k in CLIP_SIZES})
        self.model.load_state_dict({
            k: v for k, v in state.items() if k.startswith('visual.')})
        self.model.eval()


def image_model(name):
    r"""A recorded transformer that sees as few image tokens as `Eyes` gives.
    """
    kwargs, state = goldens.weights(name)
    model = WanModel(**kwargs)
    places = state.get('img_emb.emb_pos')
    model.img_emb = MLPProj(
        len(state['img_emb.proj.0.weight']), model.dim, places is not None)
    if places is not None:
        model.img_emb.emb_pos = torch.nn.Parameter(torch.empty_like(places))
    model.load_state_dict(state)
    return model.eval()


def recorded_pipeline(
        kind, config, model, inputs, clip=None, sp_size=1, **machine):
    r"""A pipeline of the recorded parts, for the prompts 'prompt' and ''."""
    texts = Encoder({
        'prompt': inputs['context'], 'negative': inputs['context_null']})
    return kind.of(
        Parts(model, texts, Decoder(), clip),
        EasyDict(WAN_CONFIGS[config], sample_neg_prompt='negative'),
        Runtime(device='cpu', dtype='float32', ulysses_size=sp_size,
                **machine))


def picture(tensor):
    r"""[H, W, 3] in bytes as an image."""
    return Image.fromarray(tensor.numpy())


def shown(pipe):
    r"""What the model is shown beside text in runs from now on, by name."""
    seen, condition = {}, pipe.condition

    def note(embedding, **given):
        seen.update(given)
        return condition(embedding, **given)

    pipe.condition = note
    return seen


def check_run(case_id, pipe, parity, **arguments):
    r"""Compare every step of a run, and what the model is shown in it.

    Args:
        parity: the fixture.
        arguments: of `generate`, besides those that all runs have.
    """
    params, _, want = goldens.case(case_id)
    pipe.model = Recording(pipe.model)
    decoded, seen = [], shown(pipe)
    decode, pipe.vae.decode_chunks = pipe.vae.decode_chunks, lambda z: (
        decoded.append(z), decode(z))[1]
    video = pipe.generate(
        'prompt', frame_num=params['frame_num'], shift=params['shift'],
        sample_solver=params['solver'], sampling_steps=params['steps'],
        guide_scale=params['guide_scale'], seed=params['seed'],
        offload_model=False, **arguments)
    calls = pipe.model.calls
    assert len(calls) == 2 * params['steps']
    torch.testing.assert_close(
        torch.cat([t for _, t, *_ in calls[::2]]).float(),
        want['timesteps'].float(), rtol=0, atol=1e-4)
    assert {n for _, _, n, *_ in calls} == {int(want['seq_len'])}
    latents = torch.stack([x for x, *_ in calls[::2]] + decoded)
    parity(f'{case_id} latents', goldens.relative_error(
        latents, want['latents']))
    for name, call in (('cond_first', 0), ('uncond_first', 1),
                       ('cond_last', -2), ('uncond_last', -1)):
        parity(f'{case_id} {name}', goldens.relative_error(
            calls[call][3], want[name]))
    for name, value in seen.items():
        parity(f'{case_id} {name}', goldens.relative_error(
            value, want[name]))
    if 'video' in want:
        parity(f'{case_id} video', goldens.relative_error(
            video, want['video']))
