r"""The one caller of the model: which evaluations, of what, in what batch."""
import pytest
import torch

from wan.conditioning import CONDITIONERS, Condition, text_condition
from wan.modules.model import TextKV, WanModel
from wan.velocity import (
    Denoiser,
    at_sigma,
    behind,
    classifier_free,
    velocity,
)

Q, P = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
SOURCE, TARGET = (Condition((torch.full((1, 1), x),)) for x in (3., 5.))


class Counting:
    r"""A denoiser: x + 10 * text + t, and 100 more where it reads."""

    def __init__(self):
        self.calls = []

    def __call__(self, latents, t, condition, ref=None, cross=None):
        self.calls.append((len(latents), float(t), ref))
        reads = ref or [0] * len(latents)
        return [x + 10 * text + t + 100 * read for x, text, read in zip(
            latents, condition.text, reads, strict=True)]

    def timestep(self, sigma):
        return 1000. * sigma


class Reading:
    r"""Slots of the branch 'ptr', above a timestep."""

    def reads(self, branch, t):
        return branch == 'ptr' and t > 500

    def __call__(self, reads, t):
        return [int(read) for read in reads]


CONDITIONS = {'q': SOURCE, 'ps': SOURCE, 'pt': TARGET, 'ptr': TARGET}
LATENTS = {'q': Q, 'ps': P, 'pt': P, 'ptr': P}


@pytest.mark.parametrize('batch, calls', [(False, [1, 1, 1, 1]), (True, [4])])
def test_each_branch_has_its_latent_condition_and_slot(batch, calls):
    model = Counting()
    out = velocity(model, CONDITIONS, Reading(), batch)(LATENTS, 700.)
    assert {k: v.mean().item() for k, v in out.items()} == {
        'q': 730., 'ps': 731., 'pt': 751., 'ptr': 851.}
    assert [call[0] for call in model.calls] == calls
    assert all(call[1] == 700. for call in model.calls)


@pytest.mark.parametrize('batch, calls', [(False, [1, 1, 1]), (True, [3])])
def test_branches_that_are_alike_are_one_evaluation(batch, calls):
    model = Counting()
    out = velocity(model, CONDITIONS, Reading(), batch)(LATENTS, 300.)
    assert torch.equal(out['ptr'], out['pt'])
    assert [call[0] for call in model.calls] == calls
    assert all(call[2] is None for call in model.calls)
    # Equal numbers in another tensor are another latent.
    out = velocity(model, CONDITIONS)({'ps': P, 'pt': P.clone()}, 1.)
    assert len(model.calls) == len(calls) + 2 and set(out) == {'ps', 'pt'}


def test_classifier_free_guidance():
    model = Counting()
    v = velocity(model, {'cond': TARGET, 'uncond': SOURCE})
    got = classifier_free(v, 4.)(P, torch.tensor(7))
    assert got.mean().item() == 38 + 4 * (58 - 38)
    model.calls.clear()
    assert classifier_free(v, 1)(P, torch.tensor(7)).mean() == 58
    assert len(model.calls) == 1


def test_by_sigma_it_is_the_same():
    model = Counting()
    v = velocity(model, {'q': SOURCE})
    assert torch.equal(at_sigma(v, model)({'q': Q}, .7)['q'],
                       v({'q': Q}, 700.)['q'])


class Network(torch.nn.Module):
    r"""Keeps the arguments of its call."""

    patch_size = (1, 2, 2)

    def forward(self, x, **given):
        self.given = given
        return x


def test_the_denoiser_fills_in_what_the_model_asks():
    network, attend = Network(), torch.nn.Identity()
    latents = [torch.zeros(16, 3, 4, 6)] * 2
    condition = Condition((torch.zeros(1, 8),) * 2, {'y': 'the image'})
    denoiser = Denoiser(network, attend=attend, sp_size=5)
    denoiser(latents, torch.tensor(999), condition, ref=[None])
    given = network.given
    assert given['seq_len'] == 20  # 18 tokens to a multiple of 5
    assert given['t'].tolist() == [999, 999]
    assert given['t'].dtype == torch.int64  # the solver's own steps
    assert given['y'] == 'the image' and given['attend'] is attend
    assert given['ref'] == [None] and given['cross'] is None
    assert denoiser.timestep(.25) == 250.
    denoiser(latents, 250., condition)
    assert network.given['t'].dtype == torch.float32


def test_a_share_of_the_tokens_is_the_denoisers_to_leave_out():
    network, share = Network(), object()
    denoiser = Denoiser(network, 7, share=share)
    latents, condition = [torch.zeros(4, 1, 2, 2)], Condition(())
    denoiser(latents, 1., condition)
    assert network.given['share'] is share
    denoiser.alone(latents, 1., condition)
    assert network.given['share'] is None
    assert network.given['attend'] is denoiser.attend
    assert denoiser.alone.timestep(1.) == 7


def test_conditions_join_with_all_they_hold():
    parts = [Condition((torch.full((2, 3), i),), {
        'clip_fea': torch.full((1, 4), i), 'y': [torch.full((1,), i)],
        'vace_context_scale': .5}) for i in (1., 2.)]
    both = Condition.joined(parts)
    assert [u.mean().item() for u in both.text] == [1., 2.]
    assert both.inputs['clip_fea'].tolist() == [[1.] * 4, [2.] * 4]
    assert [u.item() for u in both.inputs['y']] == [1., 2.]
    assert both.inputs['vace_context_scale'] == .5
    assert Condition.joined(parts[:1]) is parts[0]


def test_a_checkpoints_type_has_its_conditioner():
    model = WanModel(text_len=6, dim=24, ffn_dim=8, freq_dim=8, text_dim=8,
                     num_heads=2, num_layers=2)
    assert CONDITIONERS['t2v'] is text_condition
    kept = text_condition(model, torch.randn(3, 8))
    assert isinstance(kept.text, TextKV) and len(kept.text.blocks) == 2
    assert kept.text.blocks[0][0].shape == (1, 6, 2, 12)
    plain = torch.randn(3, 8)
    assert text_condition(model, plain, cache_text=False).text == (plain,)


def test_behind_frames_that_are_noised_as_the_branch_is():
    seen = {}

    def v(latents, t):
        seen.update(latents)
        return {name: 2 * x for name, x in latents.items()}

    model = Counting()
    model.num_train_timesteps = 1000
    lead, noise = torch.full((1, 2, 2, 2), 4.), torch.full((1, 2, 2, 2), 8.)
    out = behind(v, lead, noise, {'ps', 'pt'}, model)(
        {'q': Q, 'ps': P, 'pt': P}, 250.)
    assert seen['q'] is Q
    # One latent stays one, so that it is evaluated once.
    assert seen['ps'] is seen['pt']
    assert torch.equal(seen['ps'][:, :2], torch.full((1, 2, 2, 2), 5.))
    assert torch.equal(seen['ps'][:, 2:], P)
    assert torch.equal(out['ps'], 2 * P) and torch.equal(out['q'], 2 * Q)


def test_a_batch_holds_latents_of_one_size():
    model = Counting()
    longer = torch.ones(1, 3, 2, 2)
    out = velocity(model, CONDITIONS, batch=True)(
        LATENTS | {'ps': longer, 'pt': longer + 1}, 300.)
    assert sorted(call[0] for call in model.calls) == [2, 2]
    assert out['pt'].mean() - out['ps'].mean() == 21
