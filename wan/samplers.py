r"""The solvers by name, and the one denoise loop."""
from collections.abc import Callable

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from .utils.fm_solvers import (
    FlowDPMSolverMultistepScheduler,
    get_sampling_sigmas,
    retrieve_timesteps,
)
from .utils.fm_solvers_unipc import FlowUniPCMultistepScheduler


def _own_grid(steps: int, shift: float) -> dict:
    return {'num_inference_steps': steps, 'shift': shift}


def _from_pure_noise(steps: int, shift: float) -> dict:
    return {'sigmas': get_sampling_sigmas(steps, shift)}


# UniPC starts just below sigma 1, where log-SNR is finite.
SOLVERS = {
    'unipc': (FlowUniPCMultistepScheduler, _own_grid),
    'dpm++': (FlowDPMSolverMultistepScheduler, _from_pure_noise),
    'euler': (FlowMatchEulerDiscreteScheduler, _from_pure_noise),
}


def make_scheduler(
    solver: str,
    steps: int,
    shift: float,
    device: torch.device | str,
    num_train_timesteps: int = 1000,
) -> tuple:
    r"""A scheduler ready for one run, and its timesteps [steps] on `device`.

    Args:
        solver: a key of `SOLVERS`.
        steps: at least 1.
        shift: above 0; larger spends more steps in noise.

    Raises:
        ValueError: unknown solver, or fewer than 1 step.
    """
    if solver not in SOLVERS:
        raise ValueError(
            f'Solver {solver!r} is unknown; allowed: {", ".join(SOLVERS)}.')
    if steps < 1:
        raise ValueError(f'{steps} sampling steps: at least 1 is needed.')
    kind, grid = SOLVERS[solver]
    scheduler = kind(num_train_timesteps=num_train_timesteps)
    timesteps, _ = retrieve_timesteps(
        scheduler, device=device, **grid(steps, shift))
    return scheduler, timesteps


def flow_sigmas(steps: int, shift: float) -> torch.Tensor:
    r"""Wan's shifted sigmas from 1 to 0: float64 [steps + 1]."""
    return torch.from_numpy(np.append(get_sampling_sigmas(steps, shift), 0.))


def guided(
    cond: torch.Tensor, uncond: torch.Tensor, scale: float
) -> torch.Tensor:
    r"""Classifier-free guidance (2207.12598)."""
    return uncond + scale * (cond - uncond)


def check_finite(
    latents: torch.Tensor, index: int, total: int, where: str
) -> None:
    r"""Stop at once where going on would end in a black video.

    Raises:
        FloatingPointError: a value is infinite or NaN after step `index`
            (from 0) of `total`.
    """
    if not latents.isfinite().all():
        raise FloatingPointError(
            f'The latent is not finite after step {index + 1} of {total} '
            f'({where}); likely causes: a dtype too small for the model (try '
            f'float32), the attention back end (try another), or damaged '
            f'weights.')


def denoise(
    velocity: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    latents: torch.Tensor,
    scheduler,
    timesteps: torch.Tensor,
    callback: Callable[[int, int, torch.Tensor], None] | None = None,
) -> torch.Tensor:
    r"""Integrate the flow from noise to a clean latent.

    Args:
        velocity: (latents [C, T, h, w], timestep []) -> velocity
            [C, T, h, w], guidance included.
        latents: noise [C, T, h, w].
        scheduler, timesteps: from `make_scheduler`.
        callback: (step index, number of steps, latents) after each step.

    Raises:
        FloatingPointError: a latent has become infinite or NaN.
    """
    total = len(timesteps)
    for index, t in enumerate(timesteps):
        predicted = velocity(latents, t)
        latents = scheduler.step(
            predicted[None], t, latents[None], return_dict=False)[0][0]
        check_finite(latents, index, total, f'timestep {t:g}')
        if callback is not None:
            callback(index, total, latents)
    return latents
