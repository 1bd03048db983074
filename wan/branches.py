r"""The named branches of an editing step, evaluated by the model."""
from collections.abc import Callable, Mapping, Sequence

import torch

from .flowalign import BRANCHES
from .modules.model import RefSlot, TextContext

Slots = Callable[[Sequence[str], float], list[RefSlot | None] | None]


class BranchVelocity:
    r"""velocity(latents by branch, sigma) for the loops of `flowalign`.

    Args:
        model: a `WanModel`.
        prompts: embeddings [L, C] of 'source', 'target' and 'null'.
        seq_len: tokens of the video.
        slots: (branch names, sigma) -> reference slots; None reads nothing.
        batch: evaluate all branches of a step as one batch.
        cache_text: keep the text's projections between steps.
        num_train_timesteps: the model's timestep at sigma 1.
    """

    def __init__(
        self,
        model: Callable,
        prompts: Mapping[str, torch.Tensor],
        seq_len: int,
        slots: Slots | None = None,
        batch: bool = False,
        cache_text: bool = True,
        num_train_timesteps: int = 1000,
    ):
        self.model = model
        self.prompts = prompts
        self.seq_len = seq_len
        self.slots = slots
        self.batch = batch
        self.text_kind = TextContext if cache_text else list
        self.num_train_timesteps = num_train_timesteps
        self.contexts: dict[tuple[str, ...], Sequence[torch.Tensor]] = {}

    def __call__(
        self, latents: Mapping[str, torch.Tensor], sigma: float
    ) -> dict[str, torch.Tensor]:
        r"""Latents [C, T, h, w] to velocities of the same shape and names."""
        names = list(latents)
        out = {}
        # In steps without the photo its own branch is 'pt' once more.
        plain = 'ptr' in names and not self._slots(['ptr'], sigma)
        if plain:
            names.remove('ptr')
        for group in [names] if self.batch else [[name] for name in names]:
            x = [latents[name] for name in group]
            t = torch.full(
                (len(x),), self.num_train_timesteps * sigma,
                device=x[0].device)
            v = self.model(
                x, t=t, context=self._context(group), seq_len=self.seq_len,
                ref=self._slots(group, sigma))
            out.update(zip(group, v, strict=True))
        return {**out, 'ptr': out['pt']} if plain else out

    def _slots(self, group, sigma):
        return None if self.slots is None else self.slots(group, sigma)

    def _context(self, group):
        prompts = tuple(BRANCHES[name].prompt for name in group)
        if prompts not in self.contexts:
            self.contexts[prompts] = self.text_kind(
                self.prompts[p] for p in prompts)
        return self.contexts[prompts]
