r"""Running a row on a pair, what rows have in common computed once."""
import hashlib
from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property

import torch
from torch import Tensor

from wan.flowalign import edit_sigmas
from wan.product.collage import collage
from wan.product.masks import composite, upsample_mask
from wan.product.photo import Product
from wan.pvtt import WanPVTT, pastes
from wan.refdrop.config import RefConfig

from ..render import product_mask, render_background, render_clip
from .attempt import attempt_slots
from .measures import measure
from .pairs import CAPTIONS, Pair
from .rows import Row


class Remembered:
    r"""A model that keeps the answers it gave without a reference.

    They depend on latent, timestep and text alone. An editing step asks for
    the source's velocity at the same noise in every row: it is computed once.
    An answer from memory is the one that was computed, bit for bit.
    """

    def __init__(self, model: Callable):
        self.model = model
        self.answers: dict[bytes, list[Tensor]] = {}

    def __call__(
        self, x: Sequence[Tensor], *, t: Tensor, context: Sequence[Tensor],
        seq_len: int, ref: Sequence | None = None,
    ) -> list[Tensor]:
        if ref is not None:
            return self.model(
                x, t=t, context=context, seq_len=seq_len, ref=ref)
        key = _digest(*x, t, *context)
        if key not in self.answers:
            self.answers[key] = self.model(
                x, t=t, context=context, seq_len=seq_len)
        return self.answers[key]


def _digest(*tensors: Tensor) -> bytes:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.float().cpu().contiguous().numpy())
    return digest.digest()


class PairEditor:
    r"""All that the rows of one pair share, and their edits.

    Args:
        pipe: the pipeline.
        pair: the pair.
    """

    def __init__(self, pipe: WanPVTT, pair: Pair):
        self.pipe, self.pair = pipe, pair
        # The pipeline as it is, but for the memory of its editing loop.
        self.looping = copy(pipe)
        self.looping.model = Remembered(pipe.model)
        self.masks: dict[tuple, Tensor | None] = {}
        self.goals: dict[tuple, tuple[Tensor, Tensor]] = {}

    @cached_property
    def source(self) -> Tensor:
        r"""The template, [3, T, H, W] in [-1, 1]."""
        return render_clip(self.pair.clip)

    @cached_property
    def truth(self) -> Tensor:
        r"""What a perfect edit shows, like `source`."""
        return render_clip(self.pair.truth)

    @cached_property
    def regions(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Masks [T, H, W] of the new and old product, and the scene alone."""
        return (product_mask(self.pair.truth), product_mask(self.pair.clip),
                render_background(self.pair.clip))

    @cached_property
    def latent(self) -> Tensor:
        r"""The template encoded."""
        return self.pipe.encode_video(self.source)

    @cached_property
    def prompts(self) -> dict[str, dict[str, Tensor]]:
        r"""For each caption the prompts' embeddings."""
        return {
            caption: self.pipe.encode_prompts(
                *self.pair.prompts(caption), self.pipe.sample_neg_prompt,
                False)
            for caption in CAPTIONS}

    @torch.no_grad()
    def run(self, row: Row, photo: str) -> Tensor:
        r"""The row's video [3, T, H, W] in [-1, 1].

        Args:
            photo: 'right' or 'wrong'; 'none' if the row reads none.
        """
        if row.kind == 'copy':
            return self.source
        if row.kind in ('round_trip', 'ceiling'):
            ceiling = row.kind == 'ceiling'
            return self.pipe.decode(
                self.pipe.encode_video(self.truth) if ceiling
                else self.latent)
        if row.kind == 'paste':
            size = self.source.shape[3], self.source.shape[2]
            return collage(self.source, self.regions[1], *Product(
                self.pair.photo(photo)).fitted(size)).video
        with self.pipe.on_device(self.pipe.model, False):
            mask, goal = self.mask(row), None
            if row.ref is not None and pastes(
                    row.edit, row.ref, [Product(self.pair.photo(photo))],
                    self.given(row)):
                goal, mask = self.goal(row, photo, mask)
            video = self.pipe.decode(
                self._edited(row, photo, mask, goal)).cpu()
        if row.edit.composite and mask is not None:
            video = composite(video, self.source, upsample_mask(
                mask.cpu(), self.source.shape[1:]))
        return video

    def measure(self, video: Tensor) -> dict[str, float]:
        r"""The benchmark's measures of an edited video."""
        new, old, background = self.regions
        return measure(video, self.truth, self.source, new, old, background)

    def mask(self, row: Row) -> Tensor | None:
        r"""[T, h, w] on the latent's grid, None without masks."""
        if row.mask == 'none':
            return None
        # A given mask does not depend on the prompts.
        place = row.mask, row.edit.mask_grow, \
            '' if row.mask == 'true' else row.caption
        if place not in self.masks:
            source, target = self.pair.prompts(row.caption)
            words = {}
            if row.mask == 'words':
                old, new = self.pair.words
                words = self.pipe.blend_words(source, old, target, new)
            given = self.given(row)
            self.masks[place] = self.pipe.find_mask(
                self.latent, self.prompts[row.caption], words, self.pair.seed
            ) if given is None else self.pipe.given_mask(
                self.latent, given, row.edit.mask_grow)
        return self.masks[place]

    def given(self, row: Row) -> Tensor | None:
        r"""The old product's mask [T, H, W] if the row is given it."""
        return self.regions[1] if row.mask == 'true' else None

    def goal(
        self, row: Row, photo: str, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""The collage's latent and the mask of both products."""
        place = row.edit.mask_grow, photo
        if place not in self.goals:
            self.goals[place] = self.pipe.pasted(
                self.source, self.latent, mask, self.regions[1],
                Product(self.pair.photo(photo)))
        return self.goals[place]

    def _edited(
        self, row: Row, photo: str, mask: Tensor | None, goal: Tensor | None
    ) -> Tensor:
        prompts, ref = self.prompts[row.caption], row.ref
        sigmas = edit_sigmas(
            row.edit.sample_steps, row.edit.sample_shift, row.edit.strength)
        slots = None
        if ref is not None:
            product = Product(self.pair.photo(photo))
            if row.kind == 'attempt':
                size = self.source.shape[3], self.source.shape[2]
                slots = attempt_slots(
                    self.pipe, product.fitted(size)[0], prompts['target'],
                    *ref.ref_c)
            else:
                slots = self.pipe.reference_slots(
                    [product], prompts['target'], self.latent.shape, ref,
                    sigmas, mask, self.pair.seed)
        return self.looping.edit(
            self.latent, prompts, row.edit, ref or RefConfig(), sigmas, mask,
            slots, None, self.pair.seed, goal)
