r"""Steps that are left out: which, and what is used in their place."""
import pytest
import torch

from wan.edit_config import EditConfig
from wan.flowalign import edit_sigmas, flowalign
from wan.step_cache import NO_CACHE, StepCacheConfig
from wan.velocity import at_sigma

Z = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
EPS = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(1))


class Moving:
    r"""Velocities of an estimate that moves in proportion to sigma.

    Args:
        speed: relative change of the estimate while sigma falls by 1.
    """
    num_train_timesteps = 1000

    def __init__(self, speed=0.):
        self.speed, self.asked = speed, []

    def timestep(self, sigma):
        return 1000. * sigma

    def __call__(self, latents, t):
        self.asked.append(float(t))
        sigma = float(t) / 1000
        estimate = Z * (1 + self.speed * (1 - sigma))
        return {name: (x - estimate) / sigma for name, x in latents.items()}


class Reading:
    r"""Slots that branch 'p' reads at some timesteps."""

    def __init__(self, *steps):
        self.steps = steps

    def reads(self, branch, t):
        return branch == 'p' and t in self.steps


def steps(model, threshold, times, slots=None, noise=False):
    r"""All the answers; inputs that are noised anew where told."""
    v = StepCacheConfig(threshold).of(model, model, 'q', times[-1], slots)
    out = []
    for t in times:
        eps = torch.randn(Z.shape, generator=torch.Generator().manual_seed(
            int(t))) if noise else EPS
        x = (1 - t / 1000) * Z + t / 1000 * eps
        out.append(v({'q': x, 'p': x + 1}, t))
    return out


TIMES = [1000., 900., 800., 700., 600., 500., 400., 300., 200., 100.]


def test_off_is_the_very_same():
    model = Moving()
    assert NO_CACHE.of(model, model, 'q', 1.) is model


@pytest.mark.parametrize('noise', [False, True])
def test_the_first_two_and_the_last_are_evaluated(noise):
    r"""A rate is known from the second on; here it is 0."""
    model = Moving()
    out = steps(model, .1, TIMES, noise=noise)
    assert model.asked == [1000., 900., 100.]
    # All branches together: those of the last evaluation.
    for step in out[2:-1]:
        assert set(step) == {'q', 'p'}
        assert all(torch.equal(step[k], out[1][k]) for k in step)
    assert not torch.equal(out[-1]['q'], out[1]['q'])


def test_a_step_is_evaluated_when_the_expected_change_is_reached():
    r"""The estimate grows by .1 a step: below .25 are two of them."""
    model = Moving(1.)
    steps(model, .25, TIMES)
    assert model.asked == [1000., 900., 600., 300., 100.]


def test_more_is_left_out_the_larger_the_threshold():
    counts = []
    for threshold in (.01, .05, .1, .2, .4, 1.):
        model = Moving(1.)
        steps(model, threshold, TIMES)
        counts.append(len(model.asked))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == len(TIMES) and counts[-1] == 3


def test_nothing_is_used_where_the_photo_begins_or_ends_to_be_read():
    model = Moving()
    steps(model, 1., TIMES, Reading(600., 500., 400.))
    # At each change, and once more for another rate.
    assert model.asked == [1000., 900., 600., 500., 300., 200., 100.]


def test_another_set_of_branches_is_asked():
    model = Moving()
    v = StepCacheConfig(1.).of(model, model, 'q', 0.)
    for t in (900., 800., 700.):
        v({'q': EPS}, t)
    assert model.asked == [900., 800.]
    assert set(v({'q': EPS, 'p': EPS}, 600.)) == {'q', 'p'}


def test_a_timestep_may_be_a_tensor():
    model = Moving()
    times = torch.tensor([999, 900, 800, 10])
    v = StepCacheConfig(.1).of(model, model, 'q', times[-1])
    for t in times:
        v({'q': EPS}, t)
    assert model.asked == [999., 900., 10.]


def test_equal_prompts_still_give_the_source_back():
    model, sigmas = Moving(), edit_sigmas(8, 5., 1.)
    v = StepCacheConfig(.5).of(model, model, 'q', 1000. * sigmas[-2])
    out = flowalign(
        Z, at_sigma(v, model), sigmas, torch.Generator().manual_seed(0),
        guide_scale=5., zeta=.1)
    assert len(model.asked) == 3
    torch.testing.assert_close(out, Z, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('method, lead', [
    ('flowalign', 'q'), ('flowedit', 'q'), ('sdedit', 'p_null')])
def test_the_ends_of_an_edit(method, lead):
    edit = EditConfig(edit_method=method, sample_steps=10)
    sigmas = edit.sigmas.tolist()
    assert edit.ends() == (lead, sigmas[-2])
    assert edit.ends(reverse=True) == (lead, sigmas[0])


@pytest.mark.parametrize('value', [-.1, 1.1])
def test_bad_settings(value):
    with pytest.raises(ValueError, match=f'step_cache is {value}, allowed'):
        StepCacheConfig(value)
