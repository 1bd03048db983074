r"""Edits of one template that run together: the source is evaluated once.

Noise, sigmas and source of all are the same, so is the noised source's
velocity, and a step of N edits of FlowAlign costs 1 + 2 N evaluations in place
of 3 N; with sparse branches, which also read its keys and values, 1 + 2 N s.

The loops of `wan.flowalign` compute element by element. So they run N edits as
they run one: the edited latent has a dimension more in front, [N, C, T, h, w],
and is broadcast against the source's.
"""
import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .edit_inputs import Conditions
from .edit_steps import EditSteps
from .flowalign import BRANCHES
from .pending import Answer, Pending, Pull, Ready, in_common, why_alone
from .product.locate import doubts
from .sparse import Sparse, SparseEdit, lockstep_edits
from .utils.progress import Cancelled
from .velocity import Velocity

log = logging.getLogger(__name__)

NOT_FOUND = (
    'The product was not found in the video: the edit is not limited to a '
    'part of it, and has no collage. src_box or src_point can say where it is, '
    'another mask_method can look for it, or src_mask be given.')


def of_each(velocities: Sequence[Velocity]) -> Velocity:
    r"""Velocities of edits one after another, the source's with the first.

    Its branches are named (branch, number of the edit), as those of
    `wan.sparse.lockstep_edits`.
    """

    def by_number(latents, t):
        out = {}
        for number, v in enumerate(velocities):
            own = {name: x for (name, n), x in latents.items() if n == number}
            out |= {(name, number): u for name, u in v(own, t).items()}
        return out

    return by_number


def stacked(v: Velocity, count: int) -> Velocity:
    r"""Velocities of a loop that runs several edits as one.

    Args:
        v: from `of_each` or `lockstep_edits`.
        count: of the edits, N. The latents of their branches, and the
            velocities, are [N, C, T, h, w].
    """

    def by_branch(latents, t):
        own: dict[int, tuple[Tensor, ...]] = {}  # of branches of one latent
        asked = {}
        for name, x in latents.items():
            parts = (x,) if BRANCHES[name].latent == 'q' \
                else own.setdefault(id(x), x.unbind())
            asked |= {(name, i): part for i, part in enumerate(parts)}
        out = v(asked, t)
        return {
            name: out[name, 0] if BRANCHES[name].latent == 'q'
            else torch.stack([out[name, i] for i in range(count)])
            for name in latents}

    return by_branch


class EditsTogether(EditSteps):
    r"""All of edits that runs the transformer, of one or of several."""

    def answers(self, edits: Sequence[Pending]) -> list[Answer | Exception]:
        r"""What waiting edits are told; all that runs the transformer."""
        why = why_alone(edits)
        if why:
            log.warning('Each of %d edits is run by itself: running together '
                        '%s.', len(edits), why)
        answers: dict[int, Answer | Exception] = {}
        alike: dict[tuple[object, ...], dict[int, Ready]] = {}
        with torch.no_grad(), self.on_device(
                self.model, edits[0].offload_model):
            conditions = self.conditions(edits[0].scene)
            for number, pending in enumerate(edits):
                try:
                    one = self._ready(
                        pending, conditions.beside(pending.scene.prompts)
                        if number else conditions)
                except Cancelled:
                    raise
                except Exception as error:
                    answers[number] = error
                    continue
                kind = one.inside is None, one.slots is None, \
                    number if why else 0
                alike.setdefault(kind, {})[number] = one
            for group in alike.values():
                answers |= zip(
                    group, self._edited(list(group.values())), strict=True)
        return [answers[number] for number in range(len(edits))]

    def _ready(self, pending: Pending, conditions: Conditions) -> Ready:
        r"""Find the product, if its place was not given; capture photos."""
        notes: Sequence[str] = ()
        if pending.seen is None:
            placed, notes = self._found(pending, conditions)
            pending = replace(pending, placed=placed,
                              seen=pending.sight.seen(placed.region))
        edit, region = pending.edit, pending.placed.region
        slots = None if pending.photos is None else self.remember(
            pending.scene, pending.photos, conditions, edit, pending.ref,
            region, pending.progress, pending.seen.lead)
        return Ready(
            pending, pending.sparse.inside(region, self.patch_size),
            conditions.of_branches(edit.edit_method, pending.seen), slots,
            notes)

    def _found(self, pending: Pending, conditions: Conditions):
        r"""Where a mask that is looked for places it, and notes on that."""
        mask = self.find(
            pending.scene, conditions, pending.progress,
            pending.sight.finding, pending.parts, pending.finding)
        return self.place(
            pending.scene, mask, pending.edit, pending.products,
            pending.progress), [NOT_FOUND] if mask is None else doubts(mask)

    def _edited(self, edits: Sequence[Ready]) -> list[Answer | Exception]:
        r"""Run edits at once or, where that fails, one after another."""
        try:
            latents = self._edited_alone(edits[0]) if len(edits) == 1 \
                else self._edited_together(edits)
            return [Answer(latent, one.pending.placed, one.used, one.notes)
                    for latent, one in zip(latents, edits, strict=True)]
        except Cancelled:
            raise
        except Exception as error:
            if len(edits) == 1:
                return [error]
            log.warning('%d edits at once failed, each is run by itself: %s',
                        len(edits), error)
        return [answer for one in edits for answer in self._edited([one])]

    def _edited_alone(self, one: Ready) -> list[torch.Tensor]:
        pending, edit = one.pending, one.pending.edit
        return [self.edit(
            pending.scene, self._cached(self._velocity(one), one), edit,
            pending.progress, pending.placed, pending.start,
            one.ref_guide_scale)]

    def _edited_together(self, edits: Sequence[Ready]) -> list[torch.Tensor]:
        r"""One loop whose latent has a dimension for the edits."""
        first, pending = edits[0], [one.pending for one in edits]
        if first.inside is None:
            v = of_each([self._velocity(one) for one in edits])
        else:
            v = lockstep_edits(self.denoiser, [
                SparseEdit(Sparse(one.inside, one.pending.edit),
                           one.conditions, one.slots)
                for one in edits], pending[0].parts)
        edit, sigmas = pending[0].edit, pending[0].edit.sigmas
        start, zeta, goal = Pull.of(pending)
        with in_common(pending, 'edit', len(sigmas) - 1, self.device) as step:
            return list(self.loop(
                pending[0].scene,
                self._cached(stacked(v, len(edits)), first), edit, sigmas,
                lambda i, n, x: step(i + 1, n, x[0]), first.ref_guide_scale,
                start=start, zeta=zeta, goal=goal))

    def _velocity(self, one: Ready) -> Velocity:
        pending = one.pending
        return self.velocity(
            one.conditions, one.slots, pending.edit.batch_branches,
            pending.seen.lead, pending.scene.seed, pending.parts,
            None if one.inside is None else Sparse(one.inside, pending.edit))

    def _cached(self, v: Velocity, one: Ready) -> Velocity:
        pending = one.pending
        lead, last = pending.edit.ends(pending.start is not None)
        return pending.step_cache.of(
            v, self.denoiser, lead, self.denoiser.timestep(last), one.slots)
