r"""Wan's flow schedule, and DPM-Solver++ on it.

Wan's numbers are the schedule; the solvers are diffusers'. A flow sample at
noise level sigma is `(1 - sigma) * z0 + sigma * noise`, and the model predicts
the velocity `noise - z0`.
"""
import inspect
import math
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.configuration_utils import register_to_config

# Parameters of Wan2.1's constructors that leave no or little choice here:
# another value would change nothing, or end in NaN where sigma is 0.
_ALLOWED = {
    'prediction_type': ('flow_prediction',),
    'final_sigmas_type': ('zero',),
    'algorithm_type': ('dpmsolver++', 'sde-dpmsolver++'),
    'lambda_min_clipped': (-math.inf,),
    'variance_type': (None,),
    'invert_sigmas': (False,),
    'predict_x0': (True,),
    'solver_p': (None,),
    'timestep_spacing': ('linspace',),
    'steps_offset': (0,),
}


def shift_sigmas(
    sigmas: np.ndarray | torch.Tensor, shift: float
) -> np.ndarray | torch.Tensor:
    r"""Move noise levels in [0, 1] towards 1 by `shift` > 1 (2403.03206)."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def get_sampling_sigmas(sampling_steps: int, shift: float) -> np.ndarray:
    r"""Shifted noise levels from 1 down, without the final 0.

    Returns:
        float64 [sampling_steps].
    """
    return shift_sigmas(np.linspace(1, 0, sampling_steps + 1)[:-1], shift)


def retrieve_timesteps(
    scheduler: Any,
    num_inference_steps: int | None = None,
    device: torch.device | str | None = None,
    timesteps: list[int] | None = None,
    sigmas: list[float] | np.ndarray | None = None,
    **kwargs,
) -> tuple[torch.Tensor, int]:
    r"""Set a diffusers-like scheduler up by steps, timesteps or sigmas.

    Args:
        num_inference_steps: counts only without `timesteps` and `sigmas`.
        **kwargs: handed to `scheduler.set_timesteps`.

    Returns:
        The scheduler's timesteps and their number.

    Raises:
        ValueError: both timesteps and sigmas are given, or the scheduler
            does not take what is given.
    """
    custom = {
        k: v for k, v in (('timesteps', timesteps), ('sigmas', sigmas))
        if v is not None
    }
    if len(custom) > 1:
        raise ValueError('Both timesteps and sigmas are given; give one.')
    taken = inspect.signature(scheduler.set_timesteps).parameters
    for name in custom.keys() - taken.keys():
        raise ValueError(
            f'{type(scheduler).__name__}.set_timesteps takes no {name}.')
    custom = custom or {'num_inference_steps': num_inference_steps}
    scheduler.set_timesteps(device=device, **custom, **kwargs)
    return scheduler.timesteps, len(scheduler.timesteps)


class FlowSchedule:
    r"""Wan's timesteps and sigmas for a multistep solver of diffusers.

    To be inherited before the solver, by a class whose registered constructor
    calls `_init_flow`.
    """

    def _init_flow(self) -> None:
        r"""Construct the solver from `self.config`, and the training grid."""
        for name, allowed in _ALLOWED.items():
            value = self.config.get(name, allowed[0])
            if value not in allowed:
                raise ValueError(
                    f'{name} is {value!r}, allowed with flow sigmas: '
                    f'{", ".join(map(repr, allowed))}.')
        taken = inspect.signature(super().__init__).parameters
        super().__init__(
            use_flow_sigmas=True,
            **{k: v for k, v in self.config.items() if k in taken})
        count = self.config.num_train_timesteps
        sigmas = 1 - torch.linspace(1 / count, 1, count, dtype=torch.float64)
        sigmas = sigmas.float()
        if not self.config.use_dynamic_shifting:
            sigmas = shift_sigmas(sigmas, self.config.shift)
        self.sigmas = sigmas
        self.timesteps = sigmas * count
        self.sigma_max, self.sigma_min = sigmas[0].item(), sigmas[-1].item()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: torch.device | str | None = None,
        sigmas: list[float] | np.ndarray | None = None,
        mu: float | None = None,
        shift: float | None = None,
    ) -> None:
        r"""Begin a run: `timesteps` int64 [steps], `sigmas` [steps + 1].

        Args:
            num_inference_steps: evenly from sigma_max down, then shifted.
            device: of the timesteps; sigmas stay on the CPU.
            sigmas: these instead, falling, without the final 0; shifted too.
            mu: log of the shift, with use_dynamic_shifting.
            shift: None for the constructor's.

        Raises:
            ValueError: neither steps nor sigmas, or mu is missing.
        """
        if sigmas is None and num_inference_steps is None:
            raise ValueError('Give num_inference_steps or sigmas.')
        if sigmas is None:
            sigmas = np.linspace(
                self.sigma_max, self.sigma_min, num_inference_steps + 1)[:-1]
        sigmas = np.asarray(sigmas)
        if not self.config.use_dynamic_shifting:
            sigmas = shift_sigmas(
                sigmas, self.config.shift if shift is None else shift)
        elif mu is None:
            raise ValueError('use_dynamic_shifting needs mu.')
        else:
            sigmas = self.time_shift(mu, 1.0, sigmas)
        # The model sees whole timesteps, the solver the exact sigmas.
        timesteps = sigmas * self.config.num_train_timesteps
        self.timesteps = torch.from_numpy(timesteps).long().to(device)
        self.sigmas = torch.from_numpy(np.append(sigmas, 0.)).float()
        self.num_inference_steps = len(timesteps)
        self.model_outputs = [None] * self.config.solver_order
        self.lower_order_nums = 0
        self.last_sample = None
        self._step_index = self._begin_index = None

    def time_shift(self, mu: float, sigma: float, t: Any) -> Any:
        r"""Shift noise levels `t` by exp(mu); at sigma 1 as shift_sigmas."""
        return math.exp(mu) / (math.exp(mu) + (1 / t - 1)**sigma)

    def index_for_timestep(
        self,
        timestep: int | torch.Tensor,
        schedule_timesteps: torch.Tensor | None = None,
    ) -> int:
        r"""Where a timestep first stands, or the last index if nowhere.

        Truncation makes equal timesteps; starting at the second of them, as
        diffusers does, would leave out a step.
        """
        if schedule_timesteps is None:
            schedule_timesteps = self.timesteps
        found = (schedule_timesteps == timestep).nonzero()
        return found[0].item() if len(found) else len(self.timesteps) - 1


class FlowDPMSolverMultistepScheduler(
        FlowSchedule, DPMSolverMultistepScheduler):
    r"""DPM-Solver++ (2211.01095) on Wan's flow schedule.

    The parameters are diffusers'; `shift` is the schedule's. Those that mean
    nothing for a flow raise ValueError if they are changed.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        solver_order: int = 2,
        prediction_type: str = 'flow_prediction',
        shift: float | None = 1.0,
        use_dynamic_shifting: bool = False,
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = 'dpmsolver++',
        solver_type: str = 'midpoint',
        lower_order_final: bool = True,
        euler_at_final: bool = False,
        final_sigmas_type: str | None = 'zero',
        lambda_min_clipped: float = -float('inf'),
        variance_type: str | None = None,
        invert_sigmas: bool = False,
    ):
        self._init_flow()
