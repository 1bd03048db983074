r"""The solver table and the denoise loop."""
import math

import pytest
import torch

from tests.goldens import case, relative_error
from wan.samplers import (
    SOLVERS,
    denoise,
    flow_sigmas,
    guided,
    make_scheduler,
)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def run(solver, velocity, latents, steps=8, shift=5., **kwargs):
    scheduler, timesteps = make_scheduler(solver, steps, shift, 'cpu')
    return denoise(velocity, latents, scheduler, timesteps, **kwargs)


@pytest.mark.parametrize('solver, case_id', [
    ('unipc', 'sched_unipc_shift5_steps20'),
    ('dpm++', 'sched_dpm_shift5_steps20'),
])
def test_denoise_follows_the_recorded_trajectory(solver, case_id):
    params, inputs, outputs = case(case_id)
    states = []

    def velocity(x, t):
        assert t.dtype == torch.int64 and t.ndim == 0
        wave = torch.sin(t.float() / 1000) * inputs['c'][0]
        return params['a'] * x + params['b'] * wave

    end = run(
        solver, velocity, inputs['x0'][0], params['steps'], params['shift'],
        callback=lambda index, total, x: states.append(x))
    want = outputs['trajectory'][1:, 0]
    assert relative_error(torch.stack(states), want) <= 1e-5
    assert torch.equal(end, states[-1])


@pytest.mark.parametrize('solver', SOLVERS)
def test_straight_flow_lands_on_the_data(solver):
    data, start = noise(2, 4, 3, 2, 2)
    scheduler, timesteps = make_scheduler(solver, 10, 5., 'cpu')
    first = scheduler.sigmas[0]
    end = denoise(
        lambda x, t: start - data, (1 - first) * data + first * start,
        scheduler, timesteps)
    assert relative_error(end, data) <= 1e-5


def test_second_order_beats_euler_and_all_converge():
    r"""dx/dsigma = x from x = 1 at sigma 1 ends in 1/e."""
    errors = {
        (solver, steps): abs(
            run(solver, lambda x, t: x, torch.ones(1, 1, 1, 1), steps, 1.)
            .item() - math.exp(-1))
        for solver in ('euler', 'dpm++') for steps in (10, 20)
    }
    assert errors['euler', 10] > 1.8 * errors['euler', 20]
    assert errors['dpm++', 10] > 3 * errors['dpm++', 20]
    assert errors['dpm++', 10] < errors['euler', 10] / 3


@pytest.mark.parametrize('shift', [1., 5., 16.])
def test_euler_is_the_plain_loop_over_flow_sigmas(shift):
    x = start = noise(4, 3, 2, 2)
    sigmas = flow_sigmas(9, shift)
    for now, after in zip(sigmas[:-1], sigmas[1:], strict=True):
        v = x.sin() * (1 + now)
        x = x + (after - now) * v
    end = run(
        'euler', lambda x, t: x.sin() * (1 + t / 1000), start, 9, shift)
    assert relative_error(end, x) <= 1e-5


@pytest.mark.parametrize('solver', ['dpm++', 'euler'])
def test_flow_sigmas_are_the_solvers_own(solver):
    sigmas = flow_sigmas(12, 5.)
    scheduler, timesteps = make_scheduler(solver, 12, 5., 'cpu')
    assert sigmas.dtype == torch.float64 and sigmas.shape == (13,)
    assert sigmas[0] == 1 and sigmas[-1] == 0 and (sigmas.diff() < 0).all()
    assert relative_error(scheduler.sigmas, sigmas) <= 1e-6
    assert relative_error(timesteps.float(), 1000 * sigmas[:-1]) <= 1e-3


@pytest.mark.parametrize('solver', SOLVERS)
@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_a_non_finite_latent_stops_at_once(solver, bad):
    seen, done = [], []

    def velocity(x, t):
        seen.append(t)
        return x * (bad if len(seen) == 3 else 1.)

    with pytest.raises(FloatingPointError, match='after step 3 of 8'):
        run(solver, velocity, noise(1, 1, 2, 2),
            callback=lambda index, *_: done.append(index))
    assert len(seen) == 3 and done == [0, 1]


def test_callback_gets_index_total_and_latents():
    calls = []
    run('unipc', lambda x, t: x, noise(1, 1, 2, 2), 3,
        callback=lambda *args: calls.append(args))
    assert [call[:2] for call in calls] == [(0, 3), (1, 3), (2, 3)]
    assert all(call[2].shape == (1, 1, 2, 2) for call in calls)


def test_guided():
    cond, uncond = noise(2, 3, 4)
    assert torch.equal(guided(cond, uncond, 0.), uncond)
    assert relative_error(guided(cond, uncond, 1.), cond) <= 1e-6
    assert relative_error(
        guided(cond, uncond, 5.), 5 * cond - 4 * uncond) <= 1e-6


def test_make_scheduler_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="'ddim'.*unipc, dpm\\+\\+, euler"):
        make_scheduler('ddim', 10, 5., 'cpu')
    with pytest.raises(ValueError, match='at least 1'):
        make_scheduler('unipc', 0, 5., 'cpu')
