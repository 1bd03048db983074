r"""The steps of an edit, with values between them.

`read` the template, `place` or `find` the product in it, `remember` the
photos, `edit` the latent. `WanPVTT.generate` takes them in turn; the benchmark
does too, and keeps what its rows share.
"""
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from .conditioning import Condition
from .edit_config import EditConfig
from .edit_inputs import (
    NOTHING,
    SIGHTS,
    Conditions,
    Inputs,
    Shown,
    TextSight,
)
from .flowalign import BRANCHES, EDIT_METHODS, Callback
from .modules.rope import Grid, token_grid
from .pipeline import WanPipeline
from .product.collage import Collage, Old, collage_of
from .product.finding import AUTO, Finding
from .product.following import find_in_windows
from .product.locate import find_product
from .product.masks import Region, composite, frames_of, token_mask
from .product.photo import Product
from .product.shading import relit
from .refdrop.bank_file import BankFile
from .refdrop.config import RefConfig
from .refdrop.photos import Photos
from .refdrop.reading import Reader
from .sparse import Sparse
from .utils.kept import NOTHING_KEPT, Kept
from .utils.progress import Progress
from .velocity import Slots, Velocity, at_sigma, behind
from .windows import WHOLE, check_common, in_windows


@dataclass(frozen=True)
class Scene:
    r"""A template as the model sees it.

    Args:
        video: [3, F, H, W] in [-1, 1].
        latent: [C, T, h, w], the video encoded.
        prompts: embeddings [L, C] of 'source', 'target' and 'null'.
        words: for either prompt the token positions that name the product.
        seed: of all noise.
    """
    video: torch.Tensor
    latent: torch.Tensor
    prompts: Mapping[str, torch.Tensor]
    words: Mapping[str, list[int]]
    seed: int

    def part(self, window: slice) -> 'Scene':
        r"""A window of latent frames as a template of its own."""
        return replace(self, video=self.video[:, frames_of(window)],
                       latent=self.latent[:, window])


class Placed(NamedTuple):
    r"""Where an edit is, and what it is led by.

    Args:
        region: where it may change the video; None is everywhere.
        goal: the latent [C, T, h, w] that it is pulled to, or starts from;
            None without a collage.
        collage: what that shows; None where all of the result is the
            model's.
    """
    region: Region | None = None
    goal: torch.Tensor | None = None
    collage: Collage | None = None


NOWHERE = Placed()


def pastes(
    edit: EditConfig,
    products: Sequence[Product],
    masked: bool,
) -> bool:
    r"""Whether an edit is pulled toward a collage, or starts from it.

    Args:
        masked: whether the product's place is known, or looked for.
    """
    options = EDIT_METHODS[edit.edit_method].options
    return bool(products) and masked and edit.collage != 'off' \
        and 'goal' in options \
        and (edit.collage_zeta_scale > 0 or 'zeta' not in options)


# The branches at the noised edit.
EDITED = frozenset(
    name for name, branch in BRANCHES.items() if branch.latent == 'p')


def with_lead(
    lead: int,
    grid: Grid,
    tokens: torch.Tensor | None,
    boxes: torch.Tensor | None,
) -> tuple[Grid, torch.Tensor | None, torch.Tensor | None]:
    r"""Tokens that read, and boxes, of a video behind further frames.

    Args:
        lead: how many frames, which do not read.
        grid: of the video's tokens; the result's is of all.
        tokens: [f * h * w], bool; None for all.
        boxes: [f, 4]; None without.
    """
    frames, height, width = grid
    if tokens is None:
        tokens = torch.ones(math.prod(grid), dtype=torch.bool)
    tokens = torch.cat([tokens.new_zeros(lead * height * width), tokens])
    if boxes is not None:
        boxes = torch.cat([boxes[:1].expand(lead, -1), boxes])
    return (lead + frames, height, width), tokens, boxes


class EditSteps(WanPipeline):
    r"""The steps of an edit, each callable by itself."""

    def read(
        self,
        video: torch.Tensor,
        prompts: Mapping[str, str],
        words: Mapping[str, list[int]],
        seed: int,
        offload_model: bool,
        progress: Progress,
        kept: Kept = NOTHING_KEPT,
    ) -> Scene:
        r"""Encode a template [3, 4n + 1, H, W] and its prompts.

        Args:
            kept: what was encoded before, and is not again.

        Raises:
            ValueError: a size or number of frames that does not fit.
        """
        frames, height, width = video.shape[1:]
        shape = self.latent_shape((width, height), frames)
        texts = self._texts(prompts, offload_model, progress, kept)
        latent = self.team.first(lambda: kept.get('latent', video))
        if latent is None or tuple(latent.shape) != tuple(shape):
            latent = self.encode_video(video, progress)
            if self.rank == 0:
                kept.put('latent', latent, video)
        return Scene(video, latent.to(self.device), texts, words, seed)

    def _texts(self, prompts, offload_model, progress, kept):
        r"""The prompts' embeddings; those that are kept are not made anew."""
        found = self.team.first(lambda: {
            name: kept.get(f'text.{name}', prompt)
            for name, prompt in prompts.items()})
        missing = {name: prompt for name, prompt in prompts.items()
                   if not self._fits(found[name])}
        if missing:
            made = self.encode_text(missing, offload_model, progress)
            for name, text in made.items() if self.rank == 0 else ():
                kept.put(f'text.{name}', text, missing[name])
            found |= made
        return {name: found[name].to(self.device) for name in prompts}

    def _fits(self, text: torch.Tensor | None) -> bool:
        r"""Whether something that was kept is an embedding [L, C]."""
        return text is not None and text.dim() == 2 \
            and 0 < text.size(0) <= self.model.text_len \
            and text.size(1) == self.model.text_dim

    def blend_words(
        self, source: str, source_blend: str, target: str, target_blend: str
    ) -> dict[str, list[int]]:
        r"""Token positions of the named words in each prompt.

        Raises:
            ValueError: a word is not in its prompt.
        """
        given = {'source': (source, source_blend),
                 'target': (target, target_blend)}
        # One process has the tokenizer.
        return self.team.first(lambda: {
            name: self.text_encoder.tokenizer.token_positions(prompt, words)
            for name, (prompt, words) in given.items() if words})

    def place(
        self,
        scene: Scene,
        src_mask: torch.Tensor | None,
        edit: EditConfig,
        products: Sequence[Product],
        progress: Progress,
        old: Old | None = None,
    ) -> Placed:
        r"""A mask's region, and what leads the edit there.

        With a collage the region is that of old and new product, and only
        there does the goal differ from the template's latent.

        Args:
            src_mask: [1 or F, H, W], 1 where the template's product is; None,
                as of `find`, for everywhere.
            old: see `collage`.

        Raises:
            ValueError: the mask does not fit, or marks nothing.
        """
        if src_mask is None:
            return Placed(Region.everywhere(scene.latent))
        region = Region.given(
            src_mask, scene.latent.shape, edit.mask_grow).to(self.device)
        if not pastes(edit, products, masked=True):
            return Placed(region)
        collage = collage_of(
            scene.video, src_mask, products, edit, old)
        region = region.joined(collage.alpha)
        goal = self.encode_video(collage.video, progress)
        return Placed(region, torch.lerp(scene.latent, goal, region.cells),
                      collage if edit.collage_detail else None)

    def sight(
        self, shown: Shown, offload_model: bool, progress: Progress
    ) -> TextSight:
        r"""How the checkpoint's type sees template, edit and photos."""
        return SIGHTS[self.model.model_type](
            self, shown, offload_model, progress)

    def encode_photos(
        self,
        scene: Scene,
        products: Sequence[Product],
        ref: RefConfig,
        progress: Progress,
        ref_bank: str | Path | None = None,
        prompt: str = '',
        sight: TextSight | None = None,
    ) -> Photos:
        r"""The photos as they are captured, or as a bank file has them.

        Args:
            sight: where photos are shown to the model too; None without.
            ref_bank: a file that keeps them, and the target `prompt` of which
                they depend as well.

        Raises:
            CheckpointError: the file is not of these photos, this prompt,
                these settings and this model.
        """
        # The photos stand in the frame as the video does.
        height, width = scene.video.shape[2:]
        fitted = [product.fitted((width, height)) for product in products]
        grid = (1, *token_grid(scene.latent.shape, self.patch_size)[1:])
        masks = tuple(token_mask(alpha, grid) for _, alpha in fitted)
        noise_seed = scene.seed if ref.ref_noised else None
        file = None
        if ref_bank is not None:
            file = BankFile.of(
                ref_bank, self.model, fitted, grid, prompt, ref, scene.seed
            ).made_by(self.model.made_of).loaded(self._networks)
            found = self.team.first(lambda: file.load('cpu'))
            if found is not None:
                kept = tuple(photo.to(self.device) for photo in found)
                return Photos((), masks, noise_seed, kept=kept)
        latents = tuple(self.encode_video(rgb, progress) for rgb, _ in fitted)
        inputs = tuple(
            NOTHING if sight is None else sight.photo(rgb)
            for rgb, _ in fitted)
        return Photos(latents, masks, noise_seed,
                      file if self.rank == 0 else None, inputs=inputs)

    @property
    def _networks(self):
        networks = self.model, self.vae.model
        return networks if self.text_encoder is None \
            else (*networks, self.text_encoder.model)

    def conditions(self, scene: Scene) -> Conditions:
        r"""Of a scene's prompts; the transformer must be on the device."""
        return Conditions(self, scene.prompts)

    def find(
        self,
        scene: Scene,
        conditions: Conditions,
        progress: Progress,
        inputs: Inputs = NOTHING,
        windows: Sequence[slice] = WHOLE,
        finding: Finding = AUTO,
    ) -> torch.Tensor | None:
        r"""The automatic mask [F, H, W], 0 or 1; None when nothing tells.

        Args:
            inputs: what the model sees of the template.
            windows: in each of which it is looked for by itself; where there
                is a hint, each is told what its neighbour has found.
            finding: how it is looked for.
        """
        words = scene.words if finding.use_words else {}
        told = {name: conditions(name, inputs)
                for name in ('source', 'target')}
        check_common(told, windows)

        def look(window, hint):
            part = scene.part(window)
            mask = find_product(
                self.denoiser, part.video, part.latent, told, words,
                torch.Generator().manual_seed(scene.seed), hint)
            # A cell less in one process, and they would go apart.
            return self.team.first(lambda: mask)

        with progress.stage('find the product', 1, self.device):
            mask = find_in_windows(windows, finding.hint, look) \
                if finding.asks_model else None
            return self.team.first(
                lambda: finding.mask(scene.video, mask))

    def remember(
        self,
        scene: Scene,
        photos: Photos,
        conditions: Conditions,
        edit: EditConfig,
        ref: RefConfig,
        region: Region | None,
        progress: Progress,
        lead: torch.Tensor | None = None,
    ) -> Reader:
        r"""The bank of the photos, and when which branch reads it.

        Args:
            lead: see `Seen`; its tokens do not read.
        """
        denoiser = self.denoiser
        told = [conditions('target', inputs) for inputs in photos.inputs]
        grid = token_grid(scene.latent.shape, self.patch_size)
        tokens = boxes = None
        if region is not None:
            boxes = region.boxes(grid)
            if ref.ref_query_mask:
                tokens = region.tokens(grid)
        if lead is not None:
            grid, tokens, boxes = with_lead(
                lead.size(1), grid, tokens, boxes)
        with progress.stage('capture the reference', 1, self.device):
            if ref.matched:
                bank = {}

                def recall(sigma):
                    if sigma not in bank:
                        bank.clear()  # first: there is room for one
                        bank[sigma] = photos.references(
                            denoiser, told, (sigma,))
                    return bank[sigma]
            else:
                bank = photos.references(denoiser, told, ref.sigmas)

                def recall(sigma):
                    return bank

        steps = {denoiser.timestep(sigma): sigma
                 for sigma in edit.sigmas.tolist() if sigma > 0}
        return Reader(recall, ref, steps, grid, tokens, boxes,
                      denoiser.attend, denoiser.share)

    def velocity(
        self,
        conditions: Mapping[str, Condition],
        slots: Slots | None = None,
        batch: bool = False,
        lead: torch.Tensor | None = None,
        seed: int = 0,
        windows: Sequence[slice] = WHOLE,
        sparse: Sparse | None = None,
    ) -> Velocity:
        r"""The velocities of an edit's branches, see `wan.velocity`.

        Args:
            conditions: of each branch.
            lead: see `Seen`; `seed` is that of its noise.
            windows: of a long clip, see `in_windows`.
            sparse: evaluates the edit on some tokens; None on all.
        """
        if sparse is not None:
            return sparse.velocity(self.denoiser, conditions, slots, windows)
        v = self.team.spread(
            in_windows(self.denoiser, conditions, windows, slots, batch))
        if lead is None:
            return v
        noise = torch.randn(
            lead.shape, generator=torch.Generator().manual_seed(seed))
        return behind(v, lead, noise.to(lead), EDITED, self.denoiser)

    def edit(
        self,
        scene: Scene,
        v: Velocity,
        edit: EditConfig,
        progress: Progress,
        placed: Placed = NOWHERE,
        start: torch.Tensor | None = None,
        ref_guide_scale: float | None = None,
    ) -> torch.Tensor:
        r"""Run the editing loop; gives the edited latent [C, T, h, w].

        Args:
            v: from `velocity`, or what wraps it.
            placed: from `place`.
            start: an edited latent to go back to the template from.
            ref_guide_scale: of the reference's own guidance.
        """
        sigmas = edit.sigmas if start is None else edit.sigmas.flip(0)
        cells = None if placed.region is None else placed.region.cells
        zeta = edit.zeta(cells, placed.goal is not None)
        with progress.stage('edit', len(sigmas) - 1, self.device) as step:
            return self.loop(
                scene, v, edit, sigmas, lambda i, n, x: step(i + 1, n, x),
                ref_guide_scale, zeta=zeta, goal=placed.goal,
                start=start, cells=cells)

    def loop(
        self,
        scene: Scene,
        v: Velocity,
        edit: EditConfig,
        sigmas: torch.Tensor,
        callback: Callback,
        ref_guide_scale: float | None,
        **options: object,
    ) -> torch.Tensor:
        r"""The loop of the edit's method.

        Args:
            options: of some methods, of which this one takes its own.
        """
        method = EDIT_METHODS[edit.edit_method]
        options |= {'src_guide_scale': edit.src_guide_scale}
        return method.loop(
            scene.latent, at_sigma(v, self.denoiser), sigmas,
            torch.Generator().manual_seed(scene.seed),
            guide_scale=edit.sample_guide_scale,
            ref_guide_scale=ref_guide_scale, callback=callback,
            **{name: options[name] for name in method.options})

    def finished(
        self,
        scene: Scene,
        latent: torch.Tensor,
        edit: EditConfig,
        placed: Placed,
        progress: Progress,
    ) -> torch.Tensor | None:
        r"""The video of an edited latent, [3, F, H, W] in [-1, 1] on the CPU.

        Returns:
            None on other ranks than 0.
        """
        video = self.decode(latent, progress)
        before = None if placed.collage is None \
            else self.decode(placed.goal, progress)
        if video is None or placed.region is None:
            return video
        place = placed.region.to('cpu').pixels(scene.video.shape[1:])
        if before is not None:
            video = relit(*placed.collage, before, video)
        if before is not None or edit.composite:
            video = composite(video, scene.video, place)
        return video
