r"""Edits that wait for the transformer, and whether they can run together.
"""
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .conditioning import Condition
from .edit_config import EditConfig
from .edit_inputs import Seen, TextSight
from .edit_steps import Placed, Scene
from .flowalign import BRANCHES
from .product.finding import Finding
from .product.photo import Product
from .refdrop.config import RefConfig
from .refdrop.photos import Photos
from .sparse import ABLE, SparseConfig
from .step_cache import StepCacheConfig
from .utils.progress import OnStep, Progress
from .velocity import Slots
from .windows import WindowConfig


@dataclass(frozen=True)
class Pending:
    r"""An edit that waits for the transformer; all else is encoded.

    Args:
        scene: the template.
        edit, ref, finding, sparse, step_cache, windows: the settings.
        products: the photos, to be pasted; `photos` are those to be read.
        sight: what the model sees.
        placed: by a given mask; None, and `seen` too, if one is to be found.
        seen: what the model sees of template and edit.
        start: where to go back from, or None.
        offload_model, progress: see `WanPVTT.generate`.
    """
    scene: Scene
    edit: EditConfig
    ref: RefConfig
    finding: Finding
    sparse: SparseConfig
    step_cache: StepCacheConfig
    windows: WindowConfig
    products: Sequence[Product]
    sight: TextSight
    photos: Photos | None
    placed: Placed
    seen: Seen | None
    start: Tensor | None
    offload_model: bool
    progress: Progress

    @property
    def parts(self) -> list[slice]:
        r"""The windows of the template."""
        return self.windows.of(self.scene.latent.size(1))


class Ready(NamedTuple):
    r"""An edit whose product is found and whose photos are captured.

    Args:
        inside: [f, h, w] bool, the tokens that are evaluated; None for all.
        conditions: of each branch.
        notes: what the user should know.
    """
    pending: Pending
    inside: Tensor | None
    conditions: Mapping[str, Condition]
    slots: Slots | None
    notes: Sequence[str]

    @property
    def ref_guide_scale(self) -> float | None:
        r"""Of the reference's own guidance."""
        return None if self.slots is None else self.pending.ref.own_guidance

    @property
    def used(self) -> dict[str, bool]:
        r"""See `PVTTResult`."""
        region, goal, _ = self.pending.placed
        return {
            'mask': region is not None and region.limits,
            'reference': self.slots is not None,
            'collage': goal is not None,
            'sparse': self.inside is not None}


class Answer(NamedTuple):
    r"""What an edit waits for; `latent` is [C, T, h, w]."""
    latent: Tensor
    placed: Placed
    used: Mapping[str, bool]
    notes: Sequence[str]


def why_alone(edits: Sequence[Pending]) -> str | None:
    r"""Why edits cannot run together; None if they can, and for one."""
    first = edits[0]
    if len(edits) == 1:
        return None
    method = first.edit.edit_method
    if method not in ABLE:
        return f'needs edit_method {" or ".join(ABLE)}, not {method}'
    reading = {BRANCHES[name].latent for name in first.ref.reading}
    if 'q' in reading and any(edit.photos for edit in edits):
        return f"needs photos that the template's evaluation does not read, " \
            f'as it does with ref_branches {first.ref.ref_branches}'
    if any(edit.start is not None for edit in edits):
        return 'is not for reverse'
    for other in edits[1:]:
        for name in 'edit', 'ref', 'sparse', 'step_cache', 'windows':
            if getattr(first, name) != getattr(other, name):
                return f'needs equal settings; those of {name} differ'
        if (why := _another(first.scene, other.scene)) is not None:
            return f'needs one template; {why} differs'
    return None


def _another(scene: Scene, other: Scene) -> str | None:
    r"""What makes a scene that of another template."""
    if scene.seed != other.seed:
        return 'the seed'
    if not torch.equal(scene.latent, other.latent):
        return 'the video'
    return next((f'the {name} prompt' for name in ('source', 'null')
                 if not torch.equal(scene.prompts[name], other.prompts[name])),
                None)


class Pull(NamedTuple):
    r"""Where FlowAlign's zeta pulls several edits to.

    Args:
        start: [N, C, T, h, w], the source of each.
        zeta: [N, 1, T, h, w].
        goal: [N, C, T, h, w]; None is the source's.
    """
    start: Tensor
    zeta: Tensor
    goal: Tensor | None

    @classmethod
    def of(cls, edits: Sequence[Pending]) -> 'Pull':
        r"""Of edits of one source."""
        source = edits[0].scene.latent
        zeta = [
            torch.as_tensor(pending.edit.zeta(
                None if pending.placed.region is None
                else pending.placed.region.cells,
                pending.placed.goal is not None)
            ).to(source).expand(source.shape[1:])
            for pending in edits]
        goals = [source if pending.placed.goal is None
                 else pending.placed.goal
                 for pending in edits]
        return cls(
            source.expand(len(edits), *source.shape),
            torch.stack(zeta)[:, None],
            None if all(goal is source for goal in goals)
            else torch.stack(goals))


@contextmanager
def in_common(
    edits: Sequence[Pending], stage: str, total: int, device: torch.device
) -> Iterator[OnStep]:
    r"""A stage of several edits, which the first one's progress tells of.

    Each gets its share of the seconds.
    """
    first = edits[0].progress
    before = first.seconds.get(stage, 0.)
    with first.stage(stage, total, device) as step:
        yield step
    took = first.seconds[stage] - before
    first.seconds[stage] = before
    for pending in edits:
        seconds = pending.progress.seconds
        seconds[stage] = seconds.get(stage, 0.) + took / len(edits)
