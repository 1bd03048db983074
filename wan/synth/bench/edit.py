r"""Running a row on a pair, what rows have in common computed once."""
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from wan.conditioning import Condition
from wan.edit_steps import EDITED, EditSteps, Scene, pastes
from wan.product.collage import collage
from wan.product.masks import Region, composite
from wan.product.photo import Product
from wan.sparse import Sparse
from wan.utils.progress import Progress
from wan.velocity import Slots, Velocity

from ..render import render_background, render_clip, visible_mask
from .attempt import AttemptSlots
from .measures import measure, overlap
from .pairs import CAPTIONS, Pair
from .rows import Row


def remembered(
    v: Velocity,
    conditions: Mapping[str, Condition],
    slots: Slots | None,
    answers: dict[bytes, Tensor],
) -> Velocity:
    r"""A velocity that keeps what was answered without a reference.

    It depends on latent, timestep and condition alone. An editing step asks
    for the source's velocity at the same noise in every row: it is computed
    once. An answer from memory is the one that was computed, bit for bit.

    Args:
        v: what is asked.
        conditions: of each branch.
        slots: the reference that `v` reads.
        answers: the memory, shared by all of one pair's edits.
    """
    digests = {name: _digest(*condition.text.blocks[0])
               for name, condition in conditions.items()}

    def ask(latents, t):
        keys = {
            name: _digest(latent, torch.tensor(t)) + digests[name]
            for name, latent in latents.items()
            if slots is None or not slots.reads(name, t)}
        missing = {key: name for name, key in reversed(keys.items())
                   if key not in answers}
        wanted = {name: latent for name, latent in latents.items()
                  if name not in keys or missing.get(keys[name]) == name}
        out = v(wanted, t) if wanted else {}
        answers.update({key: out[name] for key, name in missing.items()})
        return {name: answers[keys[name]] if name in keys else out[name]
                for name in latents}

    return ask


def counted(
    v: Velocity, weights: Mapping[str, float], add: Callable[[float], None]
) -> Velocity:
    r"""A velocity that tells what each step costs.

    Args:
        weights: of each branch, its share of an evaluation of all tokens.
        add: is told the sum over the branches that were asked for.
    """

    def ask(latents, t):
        add(sum(weights[name] for name in latents))
        return v(latents, t)

    return ask


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

    def __init__(self, pipe: EditSteps, pair: Pair):
        self.pipe, self.pair = pipe, pair
        self.progress = Progress()
        self.answers: dict[bytes, Tensor] = {}
        # Evaluations of all tokens that the last edit has cost.
        self.spent = 0.
        self.masks: dict[tuple, Tensor | None] = {}
        self.places: dict[tuple, tuple[Region, Tensor | None]] = {}

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
        return (visible_mask(self.pair.truth), visible_mask(self.pair.clip),
                render_background(self.pair.clip))

    @cached_property
    def photos(self) -> dict[str, Product]:
        r"""The right and the wrong product's photo."""
        return {which: Product(self.pair.photo(which))
                for which in ('right', 'wrong')}

    @cached_property
    def scenes(self) -> dict[str, Scene]:
        r"""For each caption the template as the model sees it."""
        scenes = {}
        for caption in CAPTIONS:
            source, target = self.pair.prompts(caption)
            words = self.pipe.blend_words(
                source, self.pair.words[0], target, self.pair.words[1])
            prompts = {'source': source, 'target': target,
                       'null': self.pipe.sample_neg_prompt}
            scenes[caption] = self.pipe.read(
                self.source, prompts, words, self.pair.seed, False,
                self.progress)
        return scenes

    def _spend(self, evaluations: float) -> None:
        self.spent += evaluations

    @torch.no_grad()
    def run(self, row: Row, photo: str) -> Tensor:
        r"""The row's video [3, T, H, W] in [-1, 1].

        Args:
            photo: 'right' or 'wrong'; 'none' if the row reads none.
        """
        self.spent = 0.
        if row.kind == 'copy':
            return self.source
        if row.kind in ('round_trip', 'ceiling'):
            latent = self.pipe.encode_video(self.truth, self.progress) \
                if row.kind == 'ceiling' else self.scenes[row.caption].latent
            return self.pipe.decode(latent, self.progress)
        if row.kind == 'paste':
            size = self.source.shape[3], self.source.shape[2]
            return collage(self.source, self.regions[1],
                           *self.photos[photo].fitted(size)).video
        with self.pipe.on_device(self.pipe.model, False):
            region, goal = self.place(row, photo)
            video = self.pipe.decode(
                self._edited(row, photo, region, goal), self.progress).cpu()
        if row.edit.composite and region is not None:
            video = composite(video, self.source, region.pixels(
                self.source.shape[1:]))
        return video

    def measure(self, row: Row, video: Tensor) -> dict[str, float]:
        r"""The benchmark's measures of the row's last edit, and its cost."""
        new, old, background = self.regions
        values = measure(
            video, self.truth, self.source, new, old, background)
        return values | self.found(row) | {'evaluations': self.spent}

    def found(self, row: Row) -> dict[str, float]:
        r"""`iou` of the row's mask with the true one, if it was looked for."""
        if row.mask not in ('velocity', 'words'):
            return {}
        with self.pipe.on_device(self.pipe.model, False), torch.no_grad():
            return {'iou': overlap(self.mask(row), self.regions[1])}

    def place(
        self, row: Row, photo: str
    ) -> tuple[Region | None, Tensor | None]:
        r"""The row's region, and the latent it is pulled to inside."""
        if row.mask == 'none':
            return None, None
        pasted = row.ref is not None and pastes(
            row.edit, [self.photos[photo]], masked=True)
        # A given mask does not depend on the prompts.
        key = (row.mask, row.edit.mask_grow, pasted and photo,
               row.mask == 'true' or row.caption)
        if key not in self.places:
            self.places[key] = self.pipe.place(
                self.scenes[row.caption], self.mask(row), row.edit,
                [self.photos[photo]] if pasted else [], self.progress)
        return self.places[key]

    def mask(self, row: Row) -> Tensor | None:
        r"""The old product's mask [T, H, W], given or found."""
        if row.mask == 'true':
            return self.regions[1]
        key = row.mask, row.caption
        if key not in self.masks:
            scene = self.scenes[row.caption]
            if row.mask == 'velocity':
                scene = replace(scene, words={})
            self.masks[key] = self.pipe.find(
                scene, self.pipe.conditions(scene), self.progress)
        return self.masks[key]

    def _edited(
        self, row: Row, photo: str, region: Region | None, goal: Tensor | None
    ) -> Tensor:
        scene, slots = self.scenes[row.caption], None
        conditions = self.pipe.conditions(scene)
        if row.kind == 'attempt':
            size = self.source.shape[3], self.source.shape[2]
            slots = AttemptSlots.of(
                self.pipe, self.photos[photo].fitted(size)[0],
                conditions('target'), *row.ref.ref_c)
        elif row.ref is not None and row.ref.reads(
                len(self.pipe.model.blocks), len(row.edit.sigmas) - 1):
            photos = self.pipe.encode_photos(
                scene, [self.photos[photo]], row.ref, self.progress)
            slots = self.pipe.remember(
                scene, photos, conditions, row.edit, row.ref, region,
                self.progress)
        branches = conditions.of_branches(row.edit.edit_method)
        inside = row.sparse.inside(region, self.pipe.patch_size)
        share = 1. if inside is None else inside.float().mean().item()
        if inside is None:
            v = remembered(
                self.pipe.velocity(branches, slots, row.edit.batch_branches),
                branches, slots, self.answers)
        else:
            v = self.pipe.velocity(
                branches, slots, sparse=Sparse(inside, row.edit))
        v = counted(v, {name: share if name in EDITED else 1.
                        for name in branches}, self._spend)
        lead, last = row.edit.ends()
        denoiser = self.pipe.denoiser
        v = row.step_cache.of(
            v, denoiser, lead, denoiser.timestep(last), slots)
        return self.pipe.edit(
            scene, v, row.edit, self.progress, region, goal,
            ref_guide_scale=row.ref.own_guidance if slots else None)
