r"""VACE against the recorded numbers, and what its parts do to a result."""
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from tests import goldens
from tests.goldens import relative_error
from tests.modules.dit import load
from tests.recorded_runs import Decoder, recorded_pipeline
from tests.utils.media import make_clip
from wan.utils.progress import Cancelled, Progress
from wan.vace import WanVace

ENCODED = goldens.case_ids('vace_encode')
RUNS = goldens.case_ids('e2e_vace')


def references(inputs, videos):
    r"""The recorded images of each video, None where there are none."""
    found = [goldens.listed(inputs, f'ref.{i}') or None
             for i in range(videos)]
    return found if any(found) else None


@pytest.mark.parametrize('case', ENCODED)
def test_recorded_context(case, parity):
    _, inputs, want = goldens.case(case)
    frames = goldens.listed(inputs, 'frames')
    masks = goldens.listed(inputs, 'mask') or None
    images = references(inputs, len(frames))
    stand_in = SimpleNamespace(vae=Decoder(), vae_stride=(4, 8, 8))
    z0 = WanVace.vace_encode_frames(stand_in, frames, images, masks)
    found = {'z0': z0}
    if masks:
        found['m0'] = WanVace.vace_encode_masks(stand_in, masks, images)
        found['z'] = WanVace.vace_latent(stand_in, z0, found['m0'])
    for name, got in found.items():
        parity(f'{case} {name}', max(map(
            relative_error, got, goldens.listed(want, name))), 1e-5)
    # Without a pipeline: what is given goes before its own.
    again = WanVace.vace_encode_frames(
        None, frames, images, masks, vae=stand_in.vae)
    assert all(map(torch.equal, again, z0))
    if masks:
        again = WanVace.vace_encode_masks(None, masks, images, (4, 8, 8))
        assert all(map(torch.equal, again, found['m0']))


def pipeline(inputs, **machine):
    return recorded_pipeline(
        WanVace, 'vace-1.3B', load('dit_vace'), inputs, **machine)


class Recording(torch.nn.Module):
    r"""The model, and what it was given and gave."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.calls = []

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.model, name)

    def forward(self, x, **given):
        out = self.model(x, **given)
        self.calls.append({'x': x[0], 'out': out[0], **given})
        return out


@pytest.mark.parametrize('case', RUNS)
def test_recorded_run(case, parity):
    params, inputs, want = goldens.case(case)
    pipe = pipeline(inputs)
    pipe.model = Recording(pipe.model)
    decoded = []
    decode, pipe.vae.decode_chunks = pipe.vae.decode_chunks, lambda z: (
        decoded.append(z), decode(z))[1]
    video = pipe.generate(
        'prompt', goldens.listed(inputs, 'frames'),
        goldens.listed(inputs, 'mask'), references(inputs, 1),
        context_scale=params['context_scale'], shift=params['shift'],
        sample_solver=params['solver'], sampling_steps=params['steps'],
        guide_scale=params['guide_scale'], seed=params['seed'],
        offload_model=False)
    calls = pipe.model.calls
    torch.testing.assert_close(
        torch.cat([call['t'] for call in calls[::2]]).float(),
        want['timesteps'].float(), rtol=0, atol=1e-4)
    assert {call['seq_len'] for call in calls} == {int(want['seq_len'])}
    assert torch.equal(calls[0]['x'], inputs['noise'])
    found = {
        'z.0': calls[0]['vace_context'][0],
        'cond_first': calls[0]['out'], 'uncond_first': calls[1]['out'],
        'cond_last': calls[-2]['out'], 'uncond_last': calls[-1]['out'],
        'final_without_refs': decoded[0],
        **({'video': video} if 'video' in want else {})}
    for name, got in found.items():
        parity(f'{case} {name}', relative_error(got, want[name]))
    latents = torch.stack([call['x'] for call in calls[::2]])
    parity(f'{case} latents', relative_error(
        latents, want['latents'][:-1]))


def test_decoding_leaves_the_references_out(parity):
    _, inputs, want = goldens.case('e2e_vace_refs')
    stand_in = SimpleNamespace(vae=Decoder())
    video, = WanVace.decode_latent(
        stand_in, [want['latents'][-1]], references(inputs, 1))
    parity('vace decode_latent', relative_error(video, want['video']))
    plain, = WanVace.decode_latent(
        None, [want['final_without_refs']], vae=stand_in.vae)
    assert torch.equal(plain, video)


# What the parts do


FRAMES, MASK = torch.full((3, 5, 32, 48), .5), torch.zeros(1, 5, 32, 48)
MASK[..., 24:] = 1
IMAGES = [torch.linspace(-1, 1, 3 * 32 * 48).view(3, 1, 32, 48) * k
          for k in (1, -1, .5)]


@pytest.fixture
def pipe():
    return pipeline(goldens.case('e2e_vace_refs')[1])


def generate(pipe, frames=FRAMES, mask=MASK, images=(), **changes):
    return pipe.generate(
        'prompt', [frames], [mask], [images], **{
            'sampling_steps': 2, 'seed': 3, 'offload_model': False,
            **changes})


def context(pipe, *args, **changes):
    r"""That of a generation, and the shape of its noise."""
    pipe.model = Recording(pipe.model)
    generate(pipe, *args, sampling_steps=1, **changes)
    call = pipe.model.calls[0]
    return call['vace_context'][0], call['x']


def test_the_mask_decides_what_the_model_is_shown(pipe):
    encoded = [pipe.vae.encode([video])[0] for video in (
        FRAMES * (1 - MASK), FRAMES * MASK)]
    got, noise = context(pipe)
    assert torch.equal(got[:32], torch.cat(encoded))
    assert noise.shape == (16, 2, 4, 6)
    assert torch.equal(
        got[32:], (torch.arange(6) >= 3).float().expand(64, 2, 4, 6))
    # What the mask covers is not among what is kept.
    other = FRAMES.clone()
    other[..., 24:] = -1
    changed, _ = context(pipe, other)
    assert torch.equal(changed[:16], got[:16])
    assert not torch.equal(changed[16:32], got[16:32])


def test_scale_zero_is_without_a_context(pipe):
    silent = generate(pipe, images=IMAGES[:1], context_scale=0.)
    other = generate(pipe, -FRAMES, 1 - MASK, IMAGES[1:2], context_scale=0.)
    torch.testing.assert_close(silent, other, rtol=0, atol=1e-5)
    half, whole = (generate(pipe, images=IMAGES[:1], context_scale=scale)
                   for scale in (.5, 1.))
    assert (half - silent).abs().mean() > 1e-3
    assert (whole - silent).abs().mean() > (half - silent).abs().mean()


def test_each_reference_is_a_latent_frame_that_is_cut_off(pipe):
    plain, videos = generate(pipe), []
    for count in (1, 2, 3):  # more than the video's two latent frames
        got, noise = context(pipe, images=IMAGES[:count])
        assert got.shape == (96, 2 + count, 4, 6)
        assert noise.shape == (16, 2 + count, 4, 6)
        assert not got[16:, :count].any()
        videos.append(generate(pipe, images=IMAGES[:count]))
        assert videos[-1].shape == plain.shape == (3, 5, 32, 48)
    seen = [plain, *videos, generate(pipe, images=IMAGES[1:2])]
    assert all((a - b).abs().max() > 1e-3 for i, a in enumerate(seen)
               for b in seen[:i])
    assert torch.equal(generate(pipe, images=None), plain)


def test_one_frame_with_more_references(pipe):
    video = generate(pipe, FRAMES[:, :1], MASK[:, :1], IMAGES)
    assert video.shape == (3, 1, 32, 48) and video.isfinite().all()


def test_nothing_given_is_changed(pipe):
    given = [[FRAMES.clone()], [MASK.clone()], [[*IMAGES]]]
    kept = [FRAMES.clone(), MASK.clone(), *(x.clone() for x in IMAGES)]
    pipe.generate('prompt', *given, sampling_steps=1, seed=1)
    assert list(map(len, given)) == [1, 1, 1]
    after = [given[0][0], given[1][0], *given[2][0]]
    assert len(after) == len(kept) and all(map(torch.equal, after, kept))


def test_seeds_and_machines(pipe):
    first = generate(pipe)
    assert torch.equal(first, generate(pipe, offload_model=True))
    assert not torch.equal(first, generate(pipe, seed=4))
    other = pipeline(goldens.case('e2e_vace_refs')[1], cache_text=False)
    torch.testing.assert_close(generate(other), first)
    pipe.rank = 1
    assert generate(pipe) is None


def test_stages_and_cancelling(pipe):
    progress = Progress()
    generate(pipe, progress=progress)
    assert list(progress.seconds) == [
        'encode text', 'encode', 'denoise', 'decode']

    def listen(step):
        if step.stage == 'encode':
            progress.cancel()

    progress = Progress(listen)
    with pytest.raises(Cancelled, match='encode'):
        generate(pipe, progress=progress)


@pytest.mark.parametrize('given, told', (
    (([FRAMES] * 2, [MASK], None), 'There are 2 videos, 1 masks and 1 lists'),
    (([FRAMES], [MASK], [IMAGES] * 2), 'and 2 lists of reference images'),
    (([FRAMES], [MASK[:, :1]], None), r'has shape \(1, 1, 32, 48\)'),
    (([FRAMES], [MASK.expand(2, -1, -1, -1)], None), '1 or 3 channels'),
    (([FRAMES], [MASK], [[IMAGES[0][..., :32]]]), r'\(3, 1, 32, 32\)'),
    (([FRAMES[:, :4]], [MASK[:, :4]], None), 'frame_num is 4, allowed are'),
    (([FRAMES[..., :40]], [MASK[..., :40]], None), 'multiples of 16')))
def test_bad_arguments(pipe, given, told):
    with pytest.raises(ValueError, match=told):
        pipe.generate('prompt', *given)


# Sources from files


def test_sources_from_files(pipe, tmp_path):
    make_clip(tmp_path / 'clip.mp4', source='testsrc=s=64x48:r=16:d=0.6')
    make_clip(tmp_path / 'mask.mp4', source=(
        'color=black:s=64x48:r=16:d=0.6,drawbox=w=32:color=white:t=fill'))
    given = ([str(tmp_path / 'clip.mp4'), None],
             [str(tmp_path / 'mask.mp4'), None],
             [None, [str(tmp_path / 'red.png')]])
    Image.new('RGB', (20, 40), 'red').save(tmp_path / 'red.png')
    kept = tuple(map(list, given))
    videos, masks, images = pipe.prepare_source(*given, 5, (48, 32), 'cpu')
    assert given == kept
    # 48 x 32 pixels are six tokens, of this shape two rows of three.
    assert [video.shape for video in videos] == [(3, 9, 32, 48),
                                                 (3, 5, 32, 48)]
    assert masks[0].shape == (1, 9, 32, 48)
    assert masks[0][..., :20].min() > .9 and masks[0][..., -20:].max() < .1
    assert not videos[1].any() and (masks[1] == 1).all()
    assert images[0] is None and images[1][0].shape == (3, 1, 32, 48)
    assert images[1][0][:, 0, 16, 24].tolist() == [1, -1, -1]
    assert (images[1][0][:, 0, 16, 0] == 1).all()
    with pytest.raises(ValueError, match='without a src_video'):
        pipe.prepare_source(
            [None], [str(tmp_path / 'mask.mp4')], [None], 5, (48, 32), 'cpu')
