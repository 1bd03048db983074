r"""The editing loops on velocity fields whose solution is known.

`POINT`: the model knows one datum m_c for each prompt c, so its velocity is
(x - m_c) / sigma. Worked out by hand, with y = x - z_src, an Euler step of
FlowAlign is y' - W = (sigma' / sigma) (y - W) - zeta W, where W is the guided
difference of the data, and the last step, to sigma 0, gives (1 - zeta) W.

`GAUSSIAN`: the data are N(m_c, TAU^2). FlowAlign's ODE is then linear in y, of
solution W [(1 - s) - (1 - s_0) r(s) / r(s_0)], r(s)^2 = (1-s)^2 TAU^2 + s^2.
"""
import math

import pytest
import torch

from wan.flowalign import (
    BRANCHES,
    EDIT_METHODS,
    edit_sigmas,
    flowalign,
    flowalign_update,
    flowedit,
    refine,
    sdedit,
)
from wan.refdrop import config
from wan.samplers import flow_sigmas

SHAPE = (4, 3, 2, 5)
TAU = 0.5
SIGMAS = edit_sigmas(10, 5., 0.7)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(seed, shape=SHAPE):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


Z = randn(1)
DATA = {'source': randn(2), 'target': randn(3), 'null': randn(4)}
PHOTO = randn(5)


def datum(key):
    return PHOTO if key == 'ptr' else DATA[BRANCHES[key].prompt]


def point(latents, sigma):
    return {k: (x - datum(k)) / sigma for k, x in latents.items()}


def gaussian(latents, sigma):
    a = (sigma - (1 - sigma) * TAU**2) / ((1 - sigma)**2 * TAU**2 + sigma**2)
    return {
        k: a * (x - (1 - sigma) * datum(k)) - datum(k)
        for k, x in latents.items()
    }


def smooth(latents, sigma):
    r"""Nonlinear in the latent, so that the noise matters."""
    return {k: torch.sin(x / 2 + datum(k)) * (1 - sigma / 2)
            for k, x in latents.items()}


def promptless(latents, sigma):
    return {k: torch.tanh(3 * x) / sigma for k, x in latents.items()}


def direction(guide_scale, ref_guide_scale=None, negative='source'):
    w = guide_scale * (DATA['target'] - DATA[negative])
    if ref_guide_scale is not None:
        w = w + ref_guide_scale * (PHOTO - DATA['target'])
    return w


def close(got, want, tolerance=1e-10):
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


# The update


def test_update_is_the_formula_on_numbers():
    q, p, v_q, v_p, s, s_next, zeta = .3, -.4, .9, 1.7, .8, .65, .05
    expected = (.65 - .8) * (1.7 - .9) + .05 * (
        (.3 - .8 * .9) - (-.4 - .8 * 1.7))
    tensors = (torch.tensor([n], dtype=torch.float64)
               for n in (q, p, v_q, v_p))
    got = flowalign_update(*tensors, s, s_next, zeta)
    assert got.item() == pytest.approx(expected, abs=1e-15)


def test_update_takes_zeta_as_a_map():
    q, p, v_q, v_p = (randn(i) for i in range(4))
    zeta = torch.linspace(0, 1, 30, dtype=torch.float64).view(1, 3, 2, 5)
    got = flowalign_update(q, p, v_q, v_p, .8, .7, zeta)
    for t, h, w in ((0, 0, 0), (1, 1, 2), (2, 1, 4)):
        at = (slice(None), t, h, w)
        close(got[at], flowalign_update(
            q[at], p[at], v_q[at], v_p[at], .8, .7, zeta[0, t, h, w].item()))


def test_the_pull_can_be_shifted():
    q, p, v_q, v_p, shift = (randn(i) for i in range(5))
    plain = flowalign_update(q, p, v_q, v_p, .8, .7, .1)
    close(flowalign_update(q, p, v_q, v_p, .8, .7, .1, shift),
          plain + .1 * shift)


# What each method asks for


@pytest.mark.parametrize('method, keys', [
    ('flowalign', {'q', 'ps', 'pt'}),
    ('flowedit', {'q', 'q_null', 'p_null', 'pt'}),
    ('sdedit', {'p_null', 'pt'}),
    ('refine', {'p_null', 'pt'}),
])
@pytest.mark.parametrize('split', [False, True])
def test_branches_asked_for(method, keys, split):
    asked, sigmas = [], []

    def velocity(latents, sigma):
        asked.append(set(latents))
        sigmas.append(sigma)
        for key, x in latents.items():
            assert x.shape == Z.shape
            same = [k for k in latents
                    if BRANCHES[k].latent == BRANCHES[key].latent]
            assert all(torch.equal(x, latents[k]) for k in same)
        return point(latents, sigma)

    options = {'zeta': 0.} if method == 'flowalign' else {}
    EDIT_METHODS[method].loop(
        Z, velocity, SIGMAS, seeded(), guide_scale=3.,
        ref_guide_scale=1. if split else None, **options)
    assert asked == [keys | {'ptr'} if split else keys] * 7
    assert sigmas == SIGMAS[:-1].tolist()
    assert set(EDIT_METHODS[method].branches) == keys


def test_the_source_is_never_read_with_the_target():
    assert {b.prompt for b in BRANCHES.values() if b.latent == 'q'} == {
        'source', 'null'}


def test_reading_branches_are_branches_of_the_loops():
    for mode, reading in config.READERS.items():
        assert set(reading) <= set(BRANCHES)
        assert any(BRANCHES[k].latent == 'q' for k in reading) == (
            mode == 'all')
        # Either negative prompt counts alike.
        assert ('ps' in reading) == ('p_null' in reading)


def test_first_latents_are_the_noised_source():
    seen = []

    def velocity(latents, sigma):
        seen.append(latents)
        return point(latents, sigma)

    flowalign(Z, velocity, SIGMAS, seeded(), guide_scale=3., zeta=0.)
    sigma = SIGMAS[0].item()
    assert torch.equal(seen[0]['q'], seen[0]['pt'])
    noises = [(at['q'] - (1 - s) * Z) / s
              for at, s in zip(seen, SIGMAS.tolist(), strict=False)]
    assert 0 < sigma < 1
    # Fresh each step, of unit variance.
    for i, noise in enumerate(noises):
        assert abs(noise.std() - 1) < 0.25
        assert all((noise - other).abs().mean() > 0.5
                   for other in noises[:i])
    # The edit shares the source's noise: p - q is what has changed so far.
    gone = 1 - SIGMAS[3] / SIGMAS[0]
    close(seen[3]['ps'] - seen[3]['q'], gone * direction(3.))


# Identities


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('w', [0., 1., 19.5])
@pytest.mark.parametrize('zeta', [0., 0.1, 1.])
def test_equal_prompts_return_the_source_bit_for_bit(dtype, w, zeta):
    z = Z.to(dtype)
    got = flowalign(
        z, promptless, SIGMAS, seeded(), guide_scale=w, zeta=zeta,
        ref_guide_scale=2.)
    assert torch.equal(got, z)


@pytest.mark.parametrize('w', [1., 13.5])
def test_equal_prompts_return_the_source_in_flowedit(w):
    got = flowedit(Z, promptless, SIGMAS, seeded(), guide_scale=w)
    assert torch.equal(got, Z)


@pytest.mark.parametrize('method', list(EDIT_METHODS))
def test_the_generator_is_the_only_randomness(method):
    options = {'zeta': 0.01} if method == 'flowalign' else {}

    def run(seed):
        return EDIT_METHODS[method].loop(
            Z, smooth, SIGMAS, seeded(seed), guide_scale=5., **options)

    first = run(7)
    torch.manual_seed(123)
    assert torch.equal(run(7), first)
    assert not torch.equal(run(8), first)


def test_a_generator_moves_on():
    generator = seeded()
    a, b = (flowalign(Z, smooth, SIGMAS, generator, guide_scale=5., zeta=0.)
            for _ in range(2))
    assert not torch.equal(a, b)


def test_inputs_stay_as_they_were():
    z, start = Z.clone(), Z + 1
    flowalign(z, point, SIGMAS, seeded(), guide_scale=3., zeta=.1,
              start=start)
    assert torch.equal(z, Z) and torch.equal(start, Z + 1)


# Solutions known in closed form


@pytest.mark.parametrize('strength', [0.05, 0.5, 1.])
@pytest.mark.parametrize('w, zeta', [(1., 0.), (19.5, 1e-3), (7.5, 0.1)])
def test_flowalign_lands_on_the_point(strength, w, zeta):
    got = flowalign(
        Z, point, edit_sigmas(20, 5., strength), seeded(), guide_scale=w,
        zeta=zeta)
    close(got, Z + (1 - zeta) * direction(w))


def test_flowalign_lands_on_the_point_with_a_mask():
    zeta = torch.full((1, 3, 2, 5), 1., dtype=torch.float64)
    zeta[..., 1:3] = 1e-3
    got = flowalign(Z, point, SIGMAS, seeded(), guide_scale=7.5, zeta=zeta)
    close(got, Z + (1 - zeta) * direction(7.5))
    close(got[..., [0, 3, 4]], Z[..., [0, 3, 4]])


def test_zeta_pulls_toward_the_goal():
    goal = randn(6)
    got = flowalign(
        Z, point, SIGMAS, seeded(), guide_scale=7.5, zeta=0.3, goal=goal)
    close(got, 0.7 * (Z + direction(7.5)) + 0.3 * goal)
    assert torch.equal(*(flowalign(
        Z, point, SIGMAS, seeded(), guide_scale=7.5, zeta=0.3, goal=goal)
        for goal in (None, Z)))


@pytest.mark.parametrize('w_ref', [0., 1., 3.])
def test_split_adds_the_references_own_guidance(w_ref):
    got = flowalign(
        Z, point, SIGMAS, seeded(), guide_scale=7.5, zeta=0.1,
        ref_guide_scale=w_ref)
    close(got, Z + 0.9 * direction(7.5, w_ref))


def test_flowedit_lands_on_the_point():
    got = flowedit(
        Z, point, SIGMAS, seeded(), guide_scale=13.5, src_guide_scale=3.5)
    null = DATA['null']
    edit = null + 13.5 * (DATA['target'] - null)
    source = null + 3.5 * (DATA['source'] - null)
    close(got, Z + edit - source)


@pytest.mark.parametrize('w_ref', [None, 2.])
def test_sdedit_lands_on_the_point(w_ref):
    got = sdedit(
        Z, point, SIGMAS, seeded(), guide_scale=4., ref_guide_scale=w_ref)
    close(got, DATA['null'] + direction(4., w_ref, 'null'))


def test_sdedit_starts_from_the_noised_source():
    r"""A constant velocity takes away what the first sigma had added."""
    first = []

    def constant(latents, sigma):
        first.append(latents['pt'])
        return {k: DATA[BRANCHES[k].prompt] for k in latents}

    got = sdedit(Z, constant, SIGMAS, seeded(), guide_scale=1.)
    s = SIGMAS[0].item()
    close(got, first[0] - s * DATA['target'])
    noise = (first[0] - (1 - s) * Z) / s
    assert abs(noise.mean()) < 0.3 and abs(noise.std() - 1) < 0.25
    sdedit(Z + 1, constant, SIGMAS, seeded(), guide_scale=1.)
    close(first[len(SIGMAS) - 1] - first[0], torch.full_like(Z, 1 - s))


def test_refine_samples_inside_and_keeps_the_source_outside():
    cells = torch.zeros_like(Z[0])
    cells[:, :2] = 1
    got = refine(Z, point, SIGMAS, seeded(), guide_scale=4., goal=Z + 1,
                 cells=cells)
    wanted = DATA['null'] + direction(4., None, 'null')
    inside = cells.bool()
    close(got[:, inside], wanted.expand_as(Z)[:, inside])
    close(got[:, ~inside], Z[:, ~inside])


def test_refine_starts_from_the_noised_collage():
    r"""Velocities of nothing but the noise give the collage back."""
    cells, goal = torch.zeros_like(Z[0]), Z + randn(9)
    cells[:, :2] = 1
    goal = torch.lerp(Z, goal, cells)
    first = []

    def keep(latents, sigma):
        first.append(latents['pt'])
        noise = (first[0] - (1 - SIGMAS[0]) * goal) / SIGMAS[0]
        return {name: noise - goal for name in latents}

    close(refine(Z, keep, SIGMAS, seeded(), guide_scale=1., goal=goal,
                 cells=cells), goal)
    # Without either it is SDEdit, bit for bit.
    one, two = (loop(Z, point, SIGMAS, seeded(), guide_scale=3.)
                for loop in (refine, sdedit))
    assert torch.equal(one, two)


def gaussian_error(steps, seed=0):
    sigmas = edit_sigmas(steps, 5., 0.7)
    s, w = sigmas[0].item(), direction(7.5)
    got = flowalign(
        Z, gaussian, sigmas, seeded(seed), guide_scale=7.5, zeta=0.)
    r = math.sqrt((1 - s)**2 * TAU**2 + s**2)
    want = Z + w * (1 - (1 - s) * TAU / r)
    return ((got - want).abs().max() / w.abs().max()).item()


def test_flowalign_converges_to_the_solution_for_gaussian_data():
    r"""First order: twice the steps, half the error; whatever the noise.

    sigma_0 is not the same for every number of steps; the solution knows.
    """
    errors = [gaussian_error(steps) for steps in (50, 100, 200, 400)]
    assert errors[0] < 0.05
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert fine == pytest.approx(coarse / 2, rel=0.1)
    assert gaussian_error(50, seed=9) == pytest.approx(errors[0], rel=1e-6)


# Reverse


def round_trip_error(method, velocity, steps, seed=0, **options):
    r"""Distance from the source after edit and undo, relative to the edit."""
    sigmas = edit_sigmas(steps, 5., 0.7)
    edited = method(Z, velocity, sigmas, seeded(), **options)
    back = method(
        Z, velocity, sigmas.flip(0), seeded(seed), start=edited, **options)
    return ((back - Z).norm() / (edited - Z).norm()).item()


@pytest.mark.parametrize('velocity', [gaussian, smooth])
@pytest.mark.parametrize('method, options', [
    (flowalign, {'guide_scale': 3., 'zeta': 0.}),
    (flowalign, {'guide_scale': 3., 'zeta': 0., 'ref_guide_scale': 1.}),
    (flowedit, {'guide_scale': 3., 'src_guide_scale': 1.5}),
])
def test_undoing_an_edit_returns_near_the_source(velocity, method, options):
    coarse, fine, finest = (
        round_trip_error(method, velocity, steps, **options)
        for steps in (50, 200, 800))
    assert coarse < 0.15
    assert fine < coarse / 3
    assert finest < fine / 3


def test_undoing_needs_the_noise_of_the_edit():
    options = {'guide_scale': 3., 'zeta': 0.}
    replayed = round_trip_error(flowalign, smooth, 400, **options)
    other = round_trip_error(flowalign, smooth, 400, seed=1, **options)
    assert replayed < other / 2


@pytest.mark.parametrize('zeta', [1e-3, 1e-2])
def test_undoing_takes_the_pull_back(zeta):
    options = {'guide_scale': 3., 'zeta': zeta}
    assert round_trip_error(flowalign, smooth, 50, **options) < 0.15


def test_undoing_replays_the_same_noised_sources_backwards():
    seen = {}

    def watch(way):
        def velocity(latents, sigma):
            seen.setdefault(way, []).append((sigma, latents['q']))
            return point(latents, sigma)
        return velocity

    options = {'guide_scale': 3., 'zeta': 0.}
    edited = flowalign(Z, watch('there'), SIGMAS, seeded(), **options)
    flowalign(Z, watch('back'), SIGMAS.flip(0), seeded(), start=edited,
              **options)
    for (s, q), (s_back, q_back) in zip(
            seen['there'], reversed(seen['back']), strict=True):
        assert s == s_back and torch.equal(q, q_back)


def test_sdedit_cannot_be_undone():
    with pytest.raises(ValueError, match='sdedit and refine cannot be'):
        sdedit(Z, point, SIGMAS.flip(0), seeded(), guide_scale=3.)


# Callback and faults


@pytest.mark.parametrize('method', list(EDIT_METHODS))
def test_callback_sees_every_step(method):
    calls = []
    options = {'zeta': 0.01} if method == 'flowalign' else {}
    got = EDIT_METHODS[method].loop(
        Z, smooth, SIGMAS, seeded(), guide_scale=5.,
        callback=lambda *call: calls.append(call), **options)
    assert [(step, total) for step, total, _ in calls] == [
        (i, 7) for i in range(7)]
    assert torch.equal(calls[-1][2], got)


@pytest.mark.parametrize('method', list(EDIT_METHODS))
@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_a_latent_that_is_not_finite_stops_the_loop(method, bad):
    def velocity(latents, sigma):
        v = smooth(latents, sigma)
        if sigma == SIGMAS[2].item():
            v['pt'][0, 0, 0, 0] = bad
        return v

    options = {'zeta': 0.01} if method == 'flowalign' else {}
    with pytest.raises(FloatingPointError, match='step 3 of 7'):
        EDIT_METHODS[method].loop(
            Z, velocity, SIGMAS, seeded(), guide_scale=5., **options)


def test_a_list_of_sigmas_will_do():
    a, b = (flowalign(Z, smooth, s, seeded(), guide_scale=5., zeta=0.)
            for s in (SIGMAS, SIGMAS.tolist()))
    assert torch.equal(a, b)


# The schedule


@pytest.mark.parametrize('steps, strength, run', [
    (50, 0.7, 35), (50, 1., 50), (100, 0.29, 29), (10, 0.01, 1), (1, 1., 1)])
def test_strength_runs_the_last_steps(steps, strength, run):
    sigmas = edit_sigmas(steps, 5., strength)
    assert torch.equal(sigmas, flow_sigmas(steps, 5.)[-run - 1:])
    assert len(sigmas) == run + 1 and sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


def test_schedule_is_wans():
    s = 35 / 50
    assert edit_sigmas(50, 5., 0.7)[0].item() == pytest.approx(
        5 * s / (1 + 4 * s), abs=1e-6)


@pytest.mark.parametrize('arguments, message', [
    ((0, 5., 0.7), 'steps is 0, allowed is 1 or more'),
    ((50, 0., 0.7), r'shift is 0.0, allowed is above 0'),
    ((50, math.inf, 0.7), 'shift is inf'),
    ((50, 5., 0.), r'strength is 0.0, allowed is above 0 to 1'),
    ((50, 5., 1.1), r'strength is 1.1'),
    ((50, 5., math.nan), 'strength is nan'),
])
def test_values_out_of_range_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        edit_sigmas(*arguments)
