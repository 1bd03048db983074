r"""Running a row on a pair, what rows have in common computed once."""
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property

import torch
from torch import Tensor

from wan.edit_config import EditConfig
from wan.edit_steps import (
    EDITED,
    NOWHERE,
    EditSteps,
    Placed,
    Scene,
    pastes,
)
from wan.product.collage import Old, collage_of, old_product
from wan.product.photo import Product
from wan.sparse import Sparse
from wan.utils.progress import Progress

from .answer import Answer, Question
from .attempt import AttemptSlots
from .measures import overlap
from .rows import CAPTIONS, Row
from .velocities import counted, remembered

# What decides where an edit is and what it is pulled to is all of its
# settings but these; of some of them only whether it is pulled to a collage.
ELSEWHERE = (
    'edit_method', 'sample_steps', 'strength', 'sample_guide_scale',
    'src_guide_scale', 'sample_shift', 'fg_zeta_scale', 'bg_zeta_scale',
    'collage_zeta_scale', 'batch_branches', 'composite')


class PairEditor:
    r"""All that the rows of one pair share, and their edits.

    Args:
        load: gives the pipeline; called once a row needs it.
        pair: the pair.
    """

    def __init__(self, load: Callable[[], EditSteps], pair: Question):
        self.load, self.pair = load, pair
        self.progress = Progress()
        self.answers: dict[bytes, Tensor] = {}
        # Evaluations of all tokens that the last edit has cost.
        self.spent = 0.
        self.masks: dict[tuple, Tensor | None] = {}
        self.places: dict[tuple, Placed] = {}
        self.olds: dict[tuple, Old] = {}
        self.shown: dict[tuple[str, str], list[Product]] = {}

    @cached_property
    def pipe(self) -> EditSteps:
        return self.load()

    @cached_property
    def answer(self) -> Answer:
        r"""What edits are held against."""
        return self.pair.answer()

    @property
    def source(self) -> Tensor:
        r"""The template, [3, T, H, W] in [-1, 1]."""
        return self.answer.source

    @property
    def truth(self) -> Tensor:
        r"""What a perfect edit shows, like `source`."""
        return self.answer.truth

    @property
    def size(self) -> tuple[int, int]:
        r"""(width, height) of a frame."""
        return self.source.shape[3], self.source.shape[2]

    def products(self, row: Row, photo: str) -> list[Product]:
        r"""The 'right' or the 'wrong' product's photos, as the row's are."""
        key = row.taken, photo
        if key not in self.shown:
            self.shown[key] = [
                Product(picture) for picture in self.pair.photos(*key)]
        return self.shown[key]

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
        if row.kind in ('copy', 'truth'):
            return self.source if row.kind == 'copy' else self.truth
        if row.kind in ('round_trip', 'ceiling'):
            latent = self.pipe.encode_video(self.truth, self.progress) \
                if row.kind == 'ceiling' else self.scenes[row.caption].latent
            return self.pipe.decode(latent, self.progress)
        if row.kind == 'paste':
            return self.pasted(row, photo)
        with self.pipe.on_device(self.pipe.model, False):
            placed = self.place(row, photo)
            return self.pipe.finished(
                self.scenes[row.caption], self._edited(row, photo, placed),
                row.edit, placed, self.progress).cpu()

    def pasted(self, row: Row, photo: str) -> Tensor:
        r"""The row's collage alone."""
        return collage_of(
            self.source, self.answer.old, self.products(row, photo),
            self.viewed(row), self.old(row, self.answer.old)).video

    def old(self, row: Row, mask: Tensor) -> Old:
        r"""What collages of a mask need to know, once for all of them."""
        key = id(mask), row.edit.collage
        if key not in self.olds:
            self.olds[key] = old_product(self.source, mask, row.edit.collage)
        return self.olds[key]

    def viewed(self, row: Row) -> EditConfig:
        r"""The row's settings, and which sides the pair's photos show."""
        return replace(row.edit, view_frame=self.pair.anchor,
                       view_angles=self.pair.angles(row.taken))

    def measure(self, row: Row, video: Tensor) -> dict[str, float]:
        r"""The world's measures of the row's last edit, and its cost."""
        return self.answer.measure(video) | self.found(row) | {
            'evaluations': self.spent}

    def found(self, row: Row) -> dict[str, float]:
        r"""`iou` of the row's mask with the true one, if it was looked for."""
        if row.mask not in ('velocity', 'words'):
            return {}
        with self.pipe.on_device(self.pipe.model, False), torch.no_grad():
            return {'iou': overlap(self.mask(row), self.answer.old)}

    def place(self, row: Row, photo: str) -> Placed:
        r"""The row's region, and what it is led by inside."""
        if row.mask == 'none':
            return NOWHERE
        edit, products = self.viewed(row), []
        if row.ref is not None and pastes(
                edit, self.products(row, photo), masked=True):
            products = self.products(row, photo)
        # A given mask does not depend on the prompts.
        key = (row.mask, _placing(edit),
               bool(products) and (row.taken, photo),
               row.mask == 'true' or row.caption)
        if key not in self.places:
            mask = self.mask(row)
            self.places[key] = self.pipe.place(
                self.scenes[row.caption], mask, edit, products, self.progress,
                None if mask is None or not products else self.old(row, mask))
        return self.places[key]

    def mask(self, row: Row) -> Tensor | None:
        r"""The old product's mask [T, H, W], given or found."""
        if row.mask == 'true':
            return self.answer.old
        key = row.mask, row.caption
        if key not in self.masks:
            scene = self.scenes[row.caption]
            if row.mask == 'velocity':
                scene = replace(scene, words={})
            self.masks[key] = self.pipe.find(
                scene, self.pipe.conditions(scene), self.progress)
        return self.masks[key]

    def _edited(
        self, row: Row, photo: str, placed: Placed
    ) -> Tensor:
        scene, slots = self.scenes[row.caption], None
        region = placed.region
        conditions = self.pipe.conditions(scene)
        if row.kind == 'attempt':
            slots = AttemptSlots.of(
                self.pipe, self.products(row, photo)[0].fitted(self.size)[0],
                conditions('target'), *row.ref.ref_c)
        elif row.ref is not None and row.ref.reads(
                len(self.pipe.model.blocks), len(row.edit.sigmas) - 1):
            products = self.products(row, photo)
            ref = row.ref.shared(len(products))
            photos = self.pipe.encode_photos(
                scene, products, ref, self.progress)
            slots = self.pipe.remember(
                scene, photos, conditions, row.edit, ref, region,
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
            scene, v, row.edit, self.progress, placed,
            ref_guide_scale=row.ref.own_guidance if slots else None)


def _placing(edit: EditConfig) -> tuple:
    r"""The settings that `EditSteps.place` depends on."""
    return tuple(value for name, value in asdict(edit).items()
                 if name not in ELSEWHERE)
