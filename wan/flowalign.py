r"""Editing without inversion: FlowAlign, and what it is compared with.

A latent is noised as `(1 - sigma) * z + sigma * eps`, the model predicts
`eps - z`, and a step adds `(sigma_next - sigma) * v` while sigma falls. The
loops know no model: they ask `velocity` for named branches, and what the names
mean stands in `BRANCHES`. The noise's generator is their only randomness.

Rising sigmas undo an edit, from its result and with a generator of its seed.
The same ODE is then integrated backwards: each interval is crossed with the
noise and at the sigma it was crossed with before, and its change subtracted.
What is left is the error of first-order integration, which falls with the
number of steps. New noise would be another path; and the lower end of the
first interval is sigma 0, where the model is never sampled. zeta must be the
edit's, and small: what a pull of 0.1 has wiped out in 35 steps does not return.
"""
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from .samplers import check_finite, flow_sigmas, guided


class Branch(NamedTuple):
    r"""The noised source 'q' or edit 'p', and the prompt it is read with."""
    latent: str
    prompt: str


BRANCHES = {
    'q': Branch('q', 'source'),
    'q_null': Branch('q', 'null'),
    'ps': Branch('p', 'source'),
    'pt': Branch('p', 'target'),
    'p_null': Branch('p', 'null'),
    # Reads the reference when that has its own guidance; 'pt' then does not.
    'ptr': Branch('p', 'target'),
}

Sigmas = Tensor | Sequence[float]
# ({branch: latent}, one of the sigmas) -> {branch: velocity}, [C, T, h, w] all.
Velocity = Callable[[dict[str, Tensor], float], Mapping[str, Tensor]]
# (step index, number of steps, edited latent), after each step.
Callback = Callable[[int, int, Tensor], None]


def edit_sigmas(steps: int, shift: float, strength: float) -> Tensor:
    r"""The last share of Wan's shifted schedule.

    Args:
        steps: of the full schedule, at least 1.
        shift: of the schedule, above 0.
        strength: share of the steps run, above 0 to 1; one step at least.

    Returns:
        Falling to 0, float64 [steps run + 1]; flip it to undo an edit.

    Raises:
        ValueError: a value outside its range.
    """
    for name, value, fits, allowed in (
        ('number of steps', steps, steps >= 1, '1 or more'),
        ('shift', shift, 0 < shift < math.inf, 'above 0'),
        ('strength', strength, 0 < strength <= 1, 'above 0 to 1'),
    ):
        if not fits:
            raise ValueError(f'The {name} is {value}, allowed is {allowed}.')
    return flow_sigmas(steps, shift)[-max(1, round(strength * steps)) - 1:]


def flowalign_update(
    q: Tensor, p: Tensor, v_q: Tensor, v_p: Tensor,
    sigma: float, sigma_next: float, zeta: float | Tensor,
    offset: float | Tensor = 0.,
) -> Tensor:
    r"""What a step of FlowAlign adds to the edited latent.

        (sigma_next - sigma) (v_p - v_q)
            + zeta [(q - sigma v_q) + offset - (p - sigma v_p)]

    Args:
        q, p: noised source and noised edit, [C, T, h, w].
        v_q, v_p: their velocities; v_p is guided.
        sigma, sigma_next: of q and p, and of the next step.
        zeta: pull of the edit's clean estimate toward the source's, 0 to 1:
            a number or a map, [1, T, h, w] or [T, h, w].
        offset: from the source to what the pull is toward instead; 0 is the
            paper's.
    """
    pull = (q - sigma * v_q) + offset - (p - sigma * v_p)
    return (sigma_next - sigma) * (v_p - v_q) + zeta * pull


def flowalign(
    z_src: Tensor, velocity: Velocity, sigmas: Sigmas,
    generator: torch.Generator, *, guide_scale: float, zeta: float | Tensor,
    goal: Tensor | None = None, ref_guide_scale: float | None = None,
    start: Tensor | None = None, callback: Callback | None = None,
) -> Tensor:
    r"""Edit a latent with FlowAlign (arXiv 2505.23145).

    Asks for 'q', 'ps' and 'pt'; the source prompt is the target's negative.
    Prompts that give equal velocities return `z_src` bit for bit.

    Args:
        z_src: the source, [C, T, h, w].
        velocity: see `Velocity`.
        sigmas: falling to 0, from `edit_sigmas`; rising to undo.
        generator: of the noise, on any device.
        guide_scale: weight w of the way from source to target prompt.
        zeta: see `flowalign_update`.
        goal: what zeta pulls toward, like `z_src`; None is `z_src`.
        ref_guide_scale: weight of the reference's own guidance; asks for
            'ptr' as well. None where it has none.
        start: where to begin; None is `z_src`. To undo, the edited latent.
        callback: see `Callback`.

    Returns:
        The edited latent, [C, T, h, w].

    Raises:
        FloatingPointError: the latent has become infinite or NaN.
    """
    keys, edit = _guidance('ps', guide_scale, ref_guide_scale)
    offset = 0. if goal is None else goal - z_src

    def update(q, p, v, *sigmas):
        return flowalign_update(q, p, v['q'], edit(v), *sigmas, zeta, offset)

    return _coupled(
        z_src, velocity, sigmas, generator, ('q', *keys), update, start,
        callback)


def source_velocity(v: Mapping[str, Tensor], src_guide_scale: float) -> Tensor:
    r"""v_q of a step: the source's, guided where the null prompt is asked."""
    if 'q_null' not in v:
        return v['q']
    return guided(v['q'], v['q_null'], src_guide_scale)


def flowedit(
    z_src: Tensor, velocity: Velocity, sigmas: Sigmas,
    generator: torch.Generator, *, guide_scale: float,
    src_guide_scale: float = 3.5, ref_guide_scale: float | None = None,
    start: Tensor | None = None, callback: Callback | None = None,
) -> Tensor:
    r"""Edit a latent with FlowEdit (arXiv 2412.08629), n_avg 1.

    Asks for 'q', 'q_null', 'p_null' and 'pt'. `guide_scale` and
    `src_guide_scale` are classifier-free, of edit and source; the paper has
    13.5 and 3.5 for SD3. All else is as in `flowalign`.
    """
    keys, edit = _guidance('p_null', guide_scale, ref_guide_scale)

    def update(q, p, v, sigma, sigma_next):
        v_q = source_velocity(v, src_guide_scale)
        return (sigma_next - sigma) * (edit(v) - v_q)

    return _coupled(
        z_src, velocity, sigmas, generator, ('q', 'q_null', *keys),
        update, start, callback)


def sdedit(
    z_src: Tensor, velocity: Velocity, sigmas: Sigmas,
    generator: torch.Generator, *, guide_scale: float,
    ref_guide_scale: float | None = None, callback: Callback | None = None,
) -> Tensor:
    r"""Edit a latent with SDEdit (arXiv 2108.01073).

    The source is noised once, to the first sigma, and sampled from there
    with classifier-free guidance. Asks for 'p_null' and 'pt'. All else is as
    in `flowalign`.

    Raises:
        ValueError: rising sigmas; the noise has replaced what was there.
    """
    return _sampled(
        z_src, _first_noise(z_src, sigmas, generator), velocity, sigmas,
        _guidance('p_null', guide_scale, ref_guide_scale), callback)


def refine(
    z_src: Tensor, velocity: Velocity, sigmas: Sigmas,
    generator: torch.Generator, *, guide_scale: float,
    goal: Tensor | None = None, cells: Tensor | None = None,
    ref_guide_scale: float | None = None, callback: Callback | None = None,
) -> Tensor:
    r"""SDEdit of a collage inside a mask, the source staying outside.

    What was pasted is noised to the first sigma and sampled from there, so
    that the model gives it light, shadow and edges. Outside, each step meets
    the source as noised as the rest (Blended Diffusion, arXiv 2111.14818).

    Args:
        goal: the collage, like `z_src`; None is `z_src`.
        cells: [T, h, w], 1 inside the mask, else 0; None is everywhere.

    All else is as in `sdedit`.
    """
    eps = _first_noise(z_src, sigmas, generator)

    def hold(x, change, sigma_next):
        if cells is None:
            return change
        outside = _noised(z_src, eps, sigma_next) - x
        return torch.lerp(outside, change, cells)

    return _sampled(
        z_src if goal is None else goal, eps, velocity, sigmas,
        _guidance('p_null', guide_scale, ref_guide_scale), callback, hold)


class EditMethod(NamedTuple):
    r"""A loop and what a caller must know of it.

    Args:
        loop: the function.
        branches: evaluated in each step, without the reference's own.
        guide_scale: of the paper, or of the known port to Wan.
        options: of the loop, beside those that all loops take.
    """
    loop: Callable[..., Tensor]
    branches: tuple[str, ...]
    guide_scale: float
    options: tuple[str, ...] = ()

    @property
    def reversible(self) -> bool:
        r"""Whether rising sigmas undo an edit."""
        return 'start' in self.options


EDIT_METHODS = {
    'flowalign': EditMethod(
        flowalign, ('q', 'ps', 'pt'), 19.5, ('zeta', 'goal', 'start')),
    'flowedit': EditMethod(
        flowedit, ('q', 'q_null', 'p_null', 'pt'), 13.5,
        ('src_guide_scale', 'start')),
    'sdedit': EditMethod(sdedit, ('p_null', 'pt'), 5.0),
    'refine': EditMethod(refine, ('p_null', 'pt'), 1.0, ('goal', 'cells')),
}


def _guidance(negative: str, scale: float, ref_scale: float | None):
    r"""The edit's branches, and their velocities -> v_p.

    v_negative + w (v_pt - v_negative) [+ w_ref (v_ptr - v_pt)]
    """

    def edit(v: Mapping[str, Tensor]) -> Tensor:
        v_p = guided(v['pt'], v[negative], scale)
        if ref_scale is not None:
            v_p = v_p + ref_scale * (v['ptr'] - v['pt'])
        return v_p

    keys = (negative, 'pt') if ref_scale is None else (negative, 'pt', 'ptr')
    return keys, edit


def _first_noise(z, sigmas, generator) -> Tensor:
    if sigmas[0] < sigmas[-1]:
        raise ValueError('sdedit and refine cannot be reversed; flowalign and '
                         'flowedit can.')
    return next(_noises(z, sigmas, generator))


def _sampled(start, eps, velocity, sigmas, guidance, callback, hold=None):
    r"""From the noised start to a sample; `hold(x, change, sigma_next)` may
    change what a step adds."""
    keys, edit = guidance

    def update(x, sigma, sigma_next):
        v = velocity(dict.fromkeys(keys, x), sigma)
        change = (sigma_next - sigma) * edit(v)
        return change if hold is None else hold(x, change, sigma_next)

    return _integrate(
        _noised(start, eps, float(sigmas[0])), sigmas, update, callback)


def _coupled(
        z_src, velocity, sigmas, generator, keys, update, start, callback):
    r"""The loop of FlowAlign and FlowEdit: source and edit share noise."""
    noises = _noises(z_src, sigmas, generator)

    def coupled_update(x, sigma, sigma_next):
        q = _noised(z_src, next(noises), sigma)
        # In this order p equals q bit for bit while x is the source.
        p = q + (x - z_src)
        latents = {'q': q, 'p': p}
        v = velocity({k: latents[BRANCHES[k].latent] for k in keys}, sigma)
        return update(q, p, v, sigma, sigma_next)

    return _integrate(
        z_src if start is None else start, sigmas, coupled_update, callback)


def _integrate(x, sigmas, update, callback):
    r"""The skeleton of all loops; `update(x, sigma, sigma_next)` is added on
    the way down and, at the same two sigmas, subtracted on the way up."""
    steps = list(pairwise(float(sigma) for sigma in sigmas))
    for index, (here, there) in enumerate(steps):
        sigma, sigma_next = max(here, there), min(here, there)
        change = update(x, sigma, sigma_next)
        x = x + change if there < here else x - change
        check_finite(x, index, len(steps), f'sigma {sigma:g}')
        if callback is not None:
            callback(index, len(steps), x)
    return x


def _noised(z, eps, sigma):
    return (1 - sigma) * z + sigma * eps


def _noises(z, sigmas, generator) -> Iterator[Tensor]:
    r"""Standard normal noise for each step, float32, like z in shape.

    Each step has a seed of its own, so that rising sigmas can meet the noises
    of falling ones in reverse order without any being kept.
    """
    seeds = torch.randint(
        2**63 - 1, (len(sigmas) - 1,), generator=generator,
        device=generator.device).tolist()
    for seed in reversed(seeds) if sigmas[0] < sigmas[-1] else seeds:
        own = torch.Generator(generator.device).manual_seed(seed)
        yield torch.randn(z.shape, generator=own, dtype=torch.float32,
                          device=own.device).to(z.device)
