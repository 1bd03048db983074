from .fm_solvers import (
    FlowDPMSolverMultistepScheduler,
    get_sampling_sigmas,
    retrieve_timesteps,
)
from .fm_solvers_unipc import FlowUniPCMultistepScheduler
from .vace_processor import VaceVideoProcessor

__all__ = [
    'get_sampling_sigmas',
    'retrieve_timesteps',
    'FlowDPMSolverMultistepScheduler',
    'FlowUniPCMultistepScheduler',
    'VaceVideoProcessor',
]
