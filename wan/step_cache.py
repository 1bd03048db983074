r"""Steps that are not evaluated: the velocities of the last one are used.

The clean estimate x - sigma v of one branch tells how fast the answer
changes: its relative change between two evaluated steps, by how far sigma
fell between them. From then on the expected change adds up until it reaches a
threshold, and the next step is evaluated again; the rule's shape is
EasyCache's (arXiv 2507.02860), which compares velocities and inputs instead.
An edit's inputs are noised anew at each step, and say nothing.

All branches of a step are evaluated or none is: what is used is a difference
of branches, which must be of one step.
"""
from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from .utils.flags import check_ranges, ranged
from .velocity import Denoiser, Slots, Velocity


@dataclass(frozen=True)
class StepCacheConfig:
    r"""Whether steps in which little changes are evaluated.

    Args:
        step_cache: how much of the clean estimate may change, 0 to 1, before
            the model is asked again; a larger one is faster and less exact,
            0 evaluates every step.

    Raises:
        ValueError: a value outside its range.
    """
    step_cache: float = ranged(0.0, 0, 1)

    def __post_init__(self):
        check_ranges(self)

    @property
    def savings(self) -> tuple[str, ...]:
        r"""In words what it saves."""
        return (f'fewer by step_cache {self.step_cache:g}',) \
            if self.step_cache else ()

    def of(
        self,
        v: Velocity,
        denoiser: Denoiser,
        lead: str,
        last: float | Tensor,
        slots: Slots | None = None,
    ) -> Velocity:
        r"""The same velocities with some steps left out; off, `v` itself.

        Args:
            lead: the branch whose change decides.
            last: the timestep that is evaluated whatever has changed; so is
                the first one.
            slots: the reference; where a branch begins or ends to read it,
                nothing is used from the step before.
        """
        if not self.step_cache:
            return v
        return StepCache(
            v, self.step_cache, denoiser.num_train_timesteps, lead,
            float(last), slots)


NO_CACHE = StepCacheConfig()


class StepCache:
    r"""Velocities of which some steps' are the last evaluated one's.

    It is a `Velocity` of one run, of which each step asks once.

    Args:
        v: evaluates.
        threshold: above 0, see `StepCacheConfig`.
        scale: the timestep at sigma 1.
        lead, last, slots: see `StepCacheConfig.of`.

    Attributes:
        kept: what the last evaluation gave.
    """

    def __init__(
        self,
        v: Velocity,
        threshold: float,
        scale: float,
        lead: str,
        last: float,
        slots: Slots | None = None,
    ):
        self.v, self.threshold, self.scale = v, threshold, scale
        self.lead, self.last, self.slots = lead, last, slots
        self.kept: dict[str, Tensor] = {}
        self._state: Hashable = None
        self._estimate: Tensor | None = None
        # Relative change of the estimate while sigma falls by 1.
        self._rate: float | None = None
        self._evaluated = self._seen = 0.
        self._change = 0.

    def __call__(self, latents, t):
        sigma = float(t) / self.scale
        state = self._state_of(latents, float(t))
        if self._rate is not None:
            self._change += self._rate * abs(sigma - self._seen)
        self._seen = sigma
        if state != self._state:
            self._estimate = None  # of another question
        elif self._rate is not None and self._change < self.threshold \
                and float(t) != self.last:
            return dict(self.kept)
        self.kept = self.v(latents, t)
        self._learn(latents, sigma)
        self._state, self._change, self._evaluated = state, 0., sigma
        return dict(self.kept)

    def _state_of(self, latents, t) -> Hashable:
        r"""What a step asks, besides latents and time."""
        return tuple(
            (name, self.slots is not None and self.slots.reads(name, t))
            for name in latents)

    def _learn(self, latents, sigma: float) -> None:
        estimate = latents[self.lead] - sigma * self.kept[self.lead]
        before, step = self._estimate, abs(sigma - self._evaluated)
        self._rate = None if before is None or not step else (
            (estimate - before).norm() / before.norm().clamp_min(1e-9)
        ).item() / step
        self._estimate = estimate
