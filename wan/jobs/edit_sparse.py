r"""Whether an edit is evaluated where the product is alone, as a job's setting.
"""
from typing import NamedTuple

import torch

from ..edit_config import EditConfig
from ..flowalign import BRANCHES, EDIT_METHODS
from ..product.masks import Region
from ..runtime import Runtime
from ..sparse import ABLE, SparseConfig
from .checkpoint import Checkpoint
from .edit_output import OutputSettings
from .edit_settings import EditOptions
from .settings import Settings

# Settings by which processes share a step.
SHARED = ('ulysses_size', 'ring_size', 'branch_parallel')


def resolved_sparse(
    settings: Settings, model_type: str, method: str
) -> SparseConfig:
    r"""Where the edit is evaluated; 'auto' becomes 'share' or 'off'.

    Raises:
        ValueError: 'share' is given, and something does not go with it.
    """
    sparse, options = settings[SparseConfig], settings[EditOptions]
    runtime, why = settings[Runtime], None
    if not options.use_mask:
        why = "needs the product's place, which use_mask false does not " \
            'look for'
    elif method not in ABLE:
        why = f'needs edit_method {" or ".join(ABLE)}, not {method}'
    elif options.reverse:
        why = 'is not for reverse, which goes back on all tokens'
    elif model_type == 'vace':
        why = 'is not for a checkpoint of type vace, whose edit stands ' \
            'behind its photos in time'
    elif shared := [name for name in SHARED if getattr(runtime, name) != 1]:
        why = f'is for processes that compute all of a step, not for ' \
            f'{shared[0]} {getattr(runtime, shared[0])}'
    if sparse.sparse == 'share' and why:
        raise ValueError(f'sparse share {why}.')
    put_back = settings[EditConfig].composite \
        or settings[OutputSettings].native
    return sparse.resolved(why is None and put_back)


class SparseTokens(NamedTuple):
    r"""On how many tokens the edit is evaluated, as far as it is known.

    Args:
        on: whether it is on some of them.
        source: evaluations of the template in a step.
        share: of the tokens; None before the product is found.
    """
    on: bool
    source: int
    share: float | None

    @classmethod
    def of(
        cls,
        sparse: SparseConfig,
        edit: EditConfig,
        mask: torch.Tensor | None,
        checkpoint: Checkpoint,
        size: tuple[int, int],
    ) -> 'SparseTokens':
        r"""Of a given mask [1 or F, H, W], to which a collage may add."""
        on, share = sparse.sparse == 'share', None
        if on and mask is not None:
            inside = sparse.inside(Region.given(
                mask, checkpoint.latent_shape(size, len(mask)),
                edit.mask_grow), checkpoint.model.patch_size)
            share = 1. if inside is None else inside.float().mean().item()
        return cls(on, sum(
            BRANCHES[name].latent == 'q'
            for name in EDIT_METHODS[edit.edit_method].branches), share)

    @property
    def savings(self) -> tuple[str, ...]:
        r"""In words what is spared."""
        which = "the product's" if self.share is None \
            else f'about {self.share:.0%} of the'
        return (f"the edit's on {which} tokens",) if self.on else ()

    def packed(self, evaluations: int) -> float | None:
        r"""Evaluations of all tokens that one forward is as large as."""
        if not self.on:
            return None
        share = 1. if self.share is None else self.share
        return self.source + (evaluations - self.source) * share
