from .fm_solvers import get_sampling_sigmas
