r"""The flow solvers: recorded trajectories, known solutions, misuse."""
import math
from functools import cache

import diffusers
import numpy as np
import pytest
import torch

from tests.goldens import case, case_ids, relative_error
from wan.utils.fm_solvers import (
    FlowDPMSolverMultistepScheduler,
    get_sampling_sigmas,
    retrieve_timesteps,
    shift_sigmas,
)
from wan.utils.fm_solvers_unipc import FlowUniPCMultistepScheduler

KINDS = {
    'unipc': FlowUniPCMultistepScheduler,
    'dpm++': FlowDPMSolverMultistepScheduler,
}
BOTH = pytest.mark.parametrize('kind', KINDS.values(), ids=KINDS)


def integrate(scheduler, velocity, x, noises=None):
    r"""All states [steps + 1, ...] of a run from x."""
    states = [x]
    for i, t in enumerate(scheduler.timesteps):
        extra = {} if noises is None else {'variance_noise': noises[i]}
        x = scheduler.step(
            velocity(x, t), t, x, return_dict=False, **extra)[0]
        states.append(x)
    return torch.stack(states)


def prepared(kind, steps, shift, **kwargs):
    scheduler = kind(**kwargs)
    scheduler.set_timesteps(steps, shift=shift)
    return scheduler


@cache
def recorded_error(case_id):
    r"""Largest relative error of a recorded run, its schedule included."""
    params, inputs, outputs = case(case_id)
    steps, shift = params['steps'], params['shift']
    scheduler = KINDS[params['solver']](**params.get('ctor', {}))
    if 'sampling_sigmas' in outputs:
        sigmas = get_sampling_sigmas(steps, shift)
        assert np.array_equal(sigmas, outputs['sampling_sigmas'].numpy())
        timesteps, count = retrieve_timesteps(
            scheduler, device='cpu', sigmas=sigmas)
        assert count == steps
    else:
        scheduler.set_timesteps(steps, 'cpu', shift=shift)
        timesteps = scheduler.timesteps
    assert timesteps.dtype == torch.int64
    assert torch.equal(timesteps, outputs['timesteps'])

    def velocity(x, t):
        wave = torch.sin(t.float() / 1000) * inputs['c']
        return params['a'] * x + params['b'] * wave

    states = integrate(
        scheduler, velocity, inputs['x0'], inputs.get('variance_noise'))
    return max(
        relative_error(scheduler.sigmas, outputs['sigmas']),
        relative_error(states, outputs['trajectory']))


@pytest.mark.parametrize('case_id', case_ids('sched'))
def test_recorded_trajectory(case_id):
    assert recorded_error(case_id) <= 1e-5


@pytest.mark.parametrize('solver', KINDS)
def test_recorded_trajectories_in_table(solver, parity):
    errors = [
        recorded_error(c) for c in case_ids('sched')
        if case(c)[0]['solver'] == solver
    ]
    parity(f'scheduler {solver} ({len(errors)} runs)', max(errors), 1e-5)


@pytest.mark.parametrize('case_id', case_ids('sched_init'))
def test_recorded_constructor(case_id):
    params, _, outputs = case(case_id)
    scheduler = KINDS[params['solver']](**params['ctor'])
    ends = torch.tensor([scheduler.sigma_min, scheduler.sigma_max])
    assert relative_error(scheduler.sigmas, outputs['sigmas']) <= 1e-6
    assert relative_error(scheduler.timesteps, outputs['timesteps']) <= 1e-6
    assert relative_error(ends, outputs['sigma_min_max']) <= 1e-6
    assert len(scheduler) == 1000


@pytest.mark.parametrize('case_id', case_ids('add_noise'))
def test_recorded_add_noise(case_id):
    params, inputs, outputs = case(case_id)
    scheduler = prepared(
        KINDS[params['solver']], params['steps'], params['shift'])
    timesteps = scheduler.timesteps[inputs['index']]
    assert torch.equal(timesteps, outputs['timesteps'])
    noisy = scheduler.add_noise(inputs['x'], inputs['noise'], timesteps)
    assert relative_error(noisy, outputs['noisy']) <= 1e-6


def test_dpm_is_the_two_step_formula_of_its_paper():
    r"""Algorithm 2 of 2211.01095 written out in float64."""
    scheduler = prepared(FlowDPMSolverMultistepScheduler, 9, 5.)
    x = start = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    sigmas = scheduler.sigmas.tolist()
    log_snr = [math.log((1 - s) / s) for s in sigmas[:-1]]
    x, before = x.double(), None
    for i, (now, after) in enumerate(zip(sigmas[:-2], sigmas[1:-1],
                                         strict=True)):
        z0 = slope = x - now * x.sin()
        h = log_snr[i + 1] - log_snr[i]
        if before is not None:
            ratio = (log_snr[i] - log_snr[i - 1]) / h
            slope = z0 + (z0 - before) / (2 * ratio)
        x = after / now * x + (1 - after) * (1 - math.exp(-h)) * slope
        before = z0
    end = x - sigmas[-2] * x.sin()
    states = integrate(scheduler, lambda x, t: x.sin(), start)
    assert relative_error(states[-2], x) <= 1e-5
    assert relative_error(states[-1], end) <= 1e-5


# diffusers' own set_timesteps makes NumPy warn.
@pytest.mark.filterwarnings('ignore:__array__:DeprecationWarning')
@pytest.mark.parametrize('shift', [1., 5., 16.])
def test_dpm_agrees_with_diffusers(shift):
    theirs = diffusers.DPMSolverMultistepScheduler(
        use_flow_sigmas=True, prediction_type='flow_prediction',
        flow_shift=shift)
    theirs.set_timesteps(12)
    ours = prepared(FlowDPMSolverMultistepScheduler, 12, shift)
    x = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    assert (ours.timesteps - theirs.timesteps).abs().max() <= 1
    assert relative_error(
        integrate(ours, lambda x, t: x.sin(), x),
        integrate(theirs, lambda x, t: x.sin(), x)) <= 1e-5


@pytest.mark.parametrize('shift', [1., 5., 16.])
def test_unipc_agrees_with_diffusers(shift):
    theirs = diffusers.UniPCMultistepScheduler(
        use_flow_sigmas=True, prediction_type='flow_prediction',
        flow_shift=shift)
    theirs.set_timesteps(sigmas=np.linspace(0.999, 0, 13)[:-1])
    ours = prepared(FlowUniPCMultistepScheduler, 12, shift)
    x = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    assert relative_error(
        integrate(ours, lambda x, t: x.sin(), x),
        integrate(theirs, lambda x, t: x.sin(), x)) <= 1e-5


@BOTH
@pytest.mark.parametrize(
    'options', [{}, {'solver_order': 1}, {'solver_order': 3},
                {'lower_order_final': False},
                {'lower_order_final': False, 'solver_order': 3}], ids=str)
@pytest.mark.parametrize('steps', [1, 2, 5, 20])
def test_straight_flow_lands_on_the_data(kind, options, steps):
    _straight_flow(prepared(kind, steps, 5., **options))


@pytest.mark.parametrize('order', [1, 2, 3])
@pytest.mark.parametrize('lower', [True, False])
def test_unipc_bh1_is_finite_to_the_end(order, lower):
    _straight_flow(prepared(
        FlowUniPCMultistepScheduler, 9, 5., solver_type='bh1',
        solver_order=order, lower_order_final=lower))


def _straight_flow(scheduler):
    data, noise = torch.randn(
        2, 1, 4, 3, generator=torch.Generator().manual_seed(1))
    first = scheduler.sigmas[0]
    states = integrate(
        scheduler, lambda x, t: noise - data,
        (1 - first) * data + first * noise)
    sigmas = scheduler.sigmas.view(-1, 1, 1, 1)
    line = (1 - sigmas) * data + sigmas * noise
    assert relative_error(states, line) <= 1e-5


def _linear_flow_error(scheduler):
    r"""dx/dsigma = x from x = 1, whose solution at 0 is exp(-sigma_0)."""
    end = integrate(scheduler, lambda x, t: x, torch.ones(1, 1))[-1]
    return abs(end.item() - math.exp(-scheduler.sigmas[0].item()))


@BOTH
@pytest.mark.parametrize('shift', [1., 3.])
def test_second_order_on_a_linear_flow(kind, shift):
    first = [
        _linear_flow_error(prepared(kind, n, shift, solver_order=1))
        for n in (10, 80)
    ]
    second = [_linear_flow_error(prepared(kind, n, shift)) for n in (10, 80)]
    assert all(b < a / 2 for a, b in zip(first, second, strict=True))
    # 8 times the steps: a first-order method gains 8, a second-order one 64.
    assert second[0] > 20 * second[1]


def test_unipc_with_equal_timesteps():
    r"""100 steps at shift 16 truncate to 999 twice at the start."""
    scheduler = prepared(FlowUniPCMultistepScheduler, 100, 16.)
    assert scheduler.timesteps[0] == scheduler.timesteps[1]
    assert scheduler.index_for_timestep(scheduler.timesteps[1]) == 0
    _straight_flow(scheduler)
    assert scheduler.step_index == 100


def test_step_index_counts_from_where_a_run_starts():
    scheduler = prepared(FlowDPMSolverMultistepScheduler, 10, 3.)
    assert scheduler.step_index is None and scheduler.begin_index is None
    x = torch.ones(1, 2)
    scheduler.step(x, scheduler.timesteps[4], x)
    assert scheduler.step_index == 5
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(7)
    scheduler.step(x, scheduler.timesteps[0], x)
    assert (scheduler.begin_index, scheduler.step_index) == (7, 8)


@BOTH
def test_a_second_run_knows_nothing_of_the_first(kind):
    scheduler = kind()
    runs = []
    for _ in range(2):
        scheduler.set_timesteps(6, shift=3.)
        runs.append(integrate(scheduler, lambda x, t: x, torch.ones(1, 2)))
    assert torch.equal(*runs)


@BOTH
def test_config_round_trip(kind, tmp_path):
    kind(shift=3., solver_order=3).save_pretrained(tmp_path)
    loaded = kind.from_pretrained(tmp_path)
    assert (loaded.config.shift, loaded.config.solver_order) == (3., 3)
    assert torch.equal(loaded.sigmas, kind(shift=3.).sigmas)


@BOTH
def test_dynamic_shift_is_the_shift_of_exp_mu(kind):
    plain = prepared(kind, 8, 5.)
    dynamic = kind(use_dynamic_shifting=True)
    dynamic.set_timesteps(8, mu=math.log(5.))
    assert relative_error(dynamic.sigmas, plain.sigmas) <= 1e-6
    with pytest.raises(ValueError, match='needs mu'):
        dynamic.set_timesteps(8)


@pytest.mark.parametrize('kind, option, value', [
    (FlowUniPCMultistepScheduler, 'final_sigmas_type', 'sigma_min'),
    (FlowDPMSolverMultistepScheduler, 'final_sigmas_type', 'sigma_min'),
    (FlowUniPCMultistepScheduler, 'prediction_type', 'epsilon'),
    (FlowUniPCMultistepScheduler, 'predict_x0', False),
    (FlowDPMSolverMultistepScheduler, 'algorithm_type', 'dpmsolver'),
])
def test_options_without_meaning_are_refused(kind, option, value):
    with pytest.raises(ValueError, match=f'{option} is {value!r}, allowed'):
        kind(**{option: value})


def test_shift_keeps_the_ends_and_moves_the_middle():
    assert shift_sigmas(0., 5.) == 0 and shift_sigmas(1., 5.) == 1
    assert shift_sigmas(0.5, 3.) == 0.75
    assert get_sampling_sigmas(4, 3.) == pytest.approx([1, 0.9, 0.75, 0.5])


def test_retrieve_timesteps():
    scheduler = FlowDPMSolverMultistepScheduler()
    timesteps, count = retrieve_timesteps(scheduler, 7, shift=5.)
    assert count == 7
    assert torch.equal(
        timesteps,
        prepared(FlowDPMSolverMultistepScheduler, 7, 5.).timesteps)
    with pytest.raises(ValueError, match='give one'):
        retrieve_timesteps(scheduler, timesteps=[1], sigmas=[1.])
    with pytest.raises(ValueError, match='takes no timesteps'):
        retrieve_timesteps(scheduler, timesteps=[999, 500])
    with pytest.raises(ValueError, match='num_inference_steps or sigmas'):
        retrieve_timesteps(scheduler)
