r"""UniPC on Wan's flow schedule."""
import torch
from diffusers import UniPCMultistepScheduler
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_utils import (
    SchedulerMixin,
    SchedulerOutput,
)

from .fm_solvers import FlowSchedule


class FlowUniPCMultistepScheduler(FlowSchedule, UniPCMultistepScheduler):
    r"""UniPC (2302.04867) on Wan's flow schedule.

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
        predict_x0: bool = True,
        solver_type: str = 'bh2',
        lower_order_final: bool = True,
        disable_corrector: list[int] = [],  # noqa: B006
        solver_p: SchedulerMixin | None = None,
        timestep_spacing: str = 'linspace',
        steps_offset: int = 0,
        final_sigmas_type: str | None = 'zero',
    ):
        self._init_flow()

    def multistep_uni_p_bh_update(
        self,
        model_output: torch.Tensor,
        *args,
        sample: torch.Tensor | None = None,
        order: int | None = None,
        **kwargs,
    ) -> torch.Tensor:
        r"""The predictor; at sigma 0 every order ends in the predicted z0.

        There the step is infinite in log-SNR, and the general formula gives
        NaN for 'bh1' and for orders above 1.
        """
        if self.sigmas[self.step_index + 1] == 0:
            return self.model_outputs[-1].to(sample.dtype)
        return super().multistep_uni_p_bh_update(
            model_output, *args, sample=sample, order=order, **kwargs)

    def step(
        self,
        model_output: torch.Tensor,
        timestep: int | torch.Tensor,
        sample: torch.Tensor,
        return_dict: bool = True,
        generator: torch.Generator | None = None,
    ) -> SchedulerOutput | tuple[torch.Tensor]:
        r"""One step from `sample` [B, ...] at `timestep`.

        UniPC adds no noise: `generator` is there to call all solvers alike.
        """
        return super().step(model_output, timestep, sample, return_dict)
