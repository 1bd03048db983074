r"""Product video template transfer: the product in a video replaced by
another, shown in a photo, without training.

FlowAlign (arXiv 2505.23145) edits the template's latent along the difference
of two velocities; RefDrop (2405.17661) lets the edit's self-attentions read a
bank of the photo's keys and values.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .branches import BranchVelocity, Slots
from .edit_config import EditConfig
from .flowalign import EDIT_METHODS, edit_sigmas
from .modules.model import TextContext
from .modules.rope import token_grid
from .pipeline import WanPipeline
from .product.collage import collage
from .product.filters import dilate
from .product.locate import find_product
from .product.masks import (
    boxes,
    composite,
    mask_to_latent,
    token_mask,
    upsample_mask,
)
from .product.photo import Product
from .refdrop.bank_file import BankFile
from .refdrop.config import RefConfig
from .refdrop.filler import BankFiller
from .refdrop.reader import ReferenceReader
from .utils.record import progress


@dataclass(frozen=True)
class PVTTResult:
    r"""What an edit gives; videos [3, F, H, W] in [-1, 1] on the CPU.

    Args:
        video: the edited video.
        round_trip: the template through the VAE and back, the best any edit
            can do for the background.
        mask: [F, H, W] in [0, 1], where the product is; None without masks.
    """
    video: torch.Tensor
    round_trip: torch.Tensor
    mask: torch.Tensor | None


def check_mask(
    mask: torch.Tensor, size: tuple[int, int], frame_num: int
) -> None:
    r"""See that a mask [1 or F, H, W] fits a video and marks part of it.

    Raises:
        ValueError: another number of frames, or nothing is marked.
    """
    width, height = size
    mask_to_latent(mask, (frame_num // 4 + 1, height // 8, width // 8))


def pastes(
    edit: EditConfig,
    ref: RefConfig,
    products: Sequence[Product],
    src_mask: torch.Tensor | None,
) -> bool:
    r"""Whether an edit is pulled toward a collage."""
    return bool(products) and src_mask is not None \
        and ref.ref_collage > 0 and edit.edit_method == 'flowalign'


class WanPVTT(WanPipeline):
    r"""Template video and product photos in, edited video out."""

    def generate(
        self,
        src_video: torch.Tensor,
        products: Sequence[Product],
        source_prompt: str,
        target_prompt: str,
        edit: EditConfig | None = None,
        ref: RefConfig | None = None,
        src_mask: torch.Tensor | None = None,
        source_blend: str = '',
        target_blend: str = '',
        use_mask: bool = True,
        n_prompt: str = '',
        ref_bank: str | Path | None = None,
        reverse_from: torch.Tensor | None = None,
        seed: int = 0,
        offload_model: bool = True,
    ) -> PVTTResult:
        r"""Replace the product of a template video.

        Args:
            src_video: the template, [3, 4n + 1, H, W] in [-1, 1].
            products: photos of the new product, one c of `ref` for each;
                none edits by text alone.
            source_prompt: describes the template.
            target_prompt: the same with the new product.
            edit: settings of the loop.
            ref: settings of the reference; the default is of one photo.
            src_mask: [1 or F, H, W], 1 where the template's product is;
                found automatically if not given.
            source_blend, target_blend: words of the prompts that name the
                products; their cross-attention finds the mask. Without
                them the two prompts' velocities are compared.
            use_mask: False edits, and reads the reference, everywhere.
            n_prompt: negative prompt of flowedit and sdedit.
            ref_bank: file that keeps the captured bank for further videos.
            reverse_from: an edited video [3, F, H, W] from which to
                integrate back to the template, with the edit's own seed and
                settings. Well-conditioned only for zeta up to about 0.01.
            seed: of the loop's noise.
            offload_model: keep on the device only what is running.

        Raises:
            ValueError: sizes, words or settings that do not fit.
            FloatingPointError: the edit became non-finite.
        """
        edit, ref = edit or EditConfig(), ref or RefConfig()
        frames, height, width = src_video.shape[1:]
        shape = self.latent_shape((width, height), frames)
        sigmas = edit_sigmas(
            edit.sample_steps, edit.sample_shift, edit.strength)
        words = self.blend_words(
            source_prompt, source_blend, target_prompt, target_blend)
        prompts = self.encode_prompts(
            source_prompt, target_prompt, n_prompt or self.sample_neg_prompt,
            offload_model)
        z_src = self.encode_video(src_video)
        start = None
        if reverse_from is not None:
            start, sigmas = self.encode_video(reverse_from), sigmas.flip(0)
        mask = goal = None
        if use_mask and src_mask is not None:
            mask = self.given_mask(z_src, src_mask, edit.mask_grow)
            # Before the transformer needs the device's memory.
            if pastes(edit, ref, products, src_mask):
                goal, mask = self.pasted(
                    src_video, z_src, mask, src_mask, products[0])
        with torch.no_grad(), self.on_device(self.model, offload_model):
            if use_mask and mask is None:
                mask = self.find_mask(z_src, prompts, words, seed)
            bank_file = None if ref_bank is None else self.bank_file(
                ref_bank, target_prompt)
            # No name is kept for the bank: decoding needs its memory.
            latent = self.edit(
                z_src, prompts, edit, ref, sigmas, mask, self.reference_slots(
                    products, prompts['target'], shape, ref, sigmas, mask,
                    seed, bank_file),
                start, seed, goal)
        video, round_trip = (self.decode(z).cpu() for z in (latent, z_src))
        if mask is not None:
            mask = upsample_mask(mask.cpu(), src_video.shape[1:])
            if edit.composite:
                video = composite(video, src_video, mask)
        return PVTTResult(video, round_trip, mask)

    def encode_prompts(
        self, source: str, target: str, null: str, offload_model: bool
    ) -> dict[str, torch.Tensor]:
        r"""Embeddings [L, C] of the three prompts."""
        contexts = self.encode_text([source, target, null], offload_model)
        return {
            name: context[0] for name, context in zip(
                ('source', 'target', 'null'), contexts, strict=True)
        }

    def encode_video(self, video: torch.Tensor) -> torch.Tensor:
        r"""[3, F, H, W] in [-1, 1] to a latent [C, T, h, w]."""
        with self.vae_stage('encode'), torch.no_grad():
            return self.vae.encode([video.to(self.device)])[0]

    def blend_words(
        self, source: str, source_blend: str, target: str, target_blend: str
    ) -> dict[str, list[int]]:
        r"""Token positions of the named words in each prompt.

        Raises:
            ValueError: a word is not in its prompt.
        """
        find = self.text_encoder.tokenizer.token_positions
        given = {'source': (source, source_blend),
                 'target': (target, target_blend)}
        return {
            name: find(prompt, words)
            for name, (prompt, words) in given.items() if words
        }

    def given_mask(
        self, z_src: torch.Tensor, src_mask: torch.Tensor, grow: int = 0
    ) -> torch.Tensor:
        r"""A mask [1 or F, H, W] as [T, h, w], grown by some cells."""
        mask = mask_to_latent(src_mask, z_src.shape[1:])
        return dilate(mask, grow).to(self.device)

    def find_mask(
        self,
        z_src: torch.Tensor,
        prompts: Mapping[str, torch.Tensor],
        words: Mapping[str, list[int]],
        seed: int,
    ) -> torch.Tensor:
        r"""[T, h, w], 1 where the product is or will be (method.md 6).

        From the words' cross-attention, or from the difference of the
        prompts' velocities on the noised template.
        """
        with self.stage('find the product'):
            return find_product(
                self.model, z_src, prompts, words,
                torch.Generator().manual_seed(seed))

    def pasted(
        self,
        src_video: torch.Tensor,
        z_src: torch.Tensor,
        mask: torch.Tensor,
        src_mask: torch.Tensor,
        product: Product,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        r"""The template's latent with the photo pasted in, and its mask.

        The mask [T, h, w] is that of old and new product, and only there does
        the latent [C, T, h, w] differ from the template's.
        """
        frames, height, width = src_video.shape[1:]
        video, alpha = collage(
            src_video, src_mask.expand(frames, -1, -1),
            *product.fitted((width, height)))
        if alpha.any():
            new = mask_to_latent(alpha, z_src.shape[1:])
            mask = torch.maximum(mask, new.to(mask))
        return torch.lerp(z_src, self.encode_video(video), mask), mask

    def reference_slots(
        self,
        products: Sequence[Product],
        prompt: torch.Tensor,
        shape: Sequence[int],
        ref: RefConfig,
        sigmas: torch.Tensor,
        mask: torch.Tensor | None,
        seed: int,
        file: BankFile | None = None,
    ) -> Slots | None:
        r"""The bank of the photos, and when which branch reads it."""
        if not products or not any(ref.ref_c):
            return None
        grid = token_grid(shape, self.patch_size)
        tokens = frame_boxes = None
        if mask is not None:
            # Most of a token: at the rim, where they would paint the product
            # over the scene, none read.
            tokens = token_mask(mask, grid, share=0.75)
            frame_boxes = boxes(tokens.view(grid))
        # The photos stand in the frame as the video does.
        size = (shape[3] * self.vae_stride[2], shape[2] * self.vae_stride[1])
        photos = [product.fitted(size) for product in products]
        reused = ref.matched and self.cache_text
        fill = BankFiller(
            self.model, lambda rgb: self.vae.encode([rgb.to(self.device)])[0],
            photos, [token_mask(m, (1, *grid[1:])) for _, m in photos],
            (TextContext if reused else list)([prompt]),
            seed if ref.ref_noised else None, file)
        with self.stage('capture the reference'):
            reader = ReferenceReader(
                fill, ref, sigmas.tolist(), grid,
                tokens if ref.ref_query_mask else None, frame_boxes)
            if not ref.matched:
                reader.load(0.)
        return reader

    def bank_file(self, path: str | Path, prompt: str) -> BankFile:
        r"""The file that keeps a bank of this prompt and checkpoint."""
        return BankFile.of(path, prompt, (
            self.model, self.vae.model, self.text_encoder.model))

    def edit(
        self,
        z_src: torch.Tensor,
        prompts: Mapping[str, torch.Tensor],
        edit: EditConfig,
        ref: RefConfig,
        sigmas: torch.Tensor,
        mask: torch.Tensor | None,
        slots: Slots | None,
        start: torch.Tensor | None,
        seed: int,
        goal: torch.Tensor | None = None,
    ) -> torch.Tensor:
        r"""Run the editing loop; sigmas that rise go back from `start`."""
        velocity = BranchVelocity(
            self.model, prompts, self.seq_len(z_src.shape), slots,
            edit.batch_branches, self.cache_text, self.num_train_timesteps)
        options = {'guide_scale': edit.sample_guide_scale}
        if ref.ref_branches == 'split' and slots is not None:
            options['ref_guide_scale'] = ref.ref_guide_scale
        if edit.edit_method == 'flowalign':
            zeta = edit.bg_zeta_scale
            if mask is not None:
                inside = edit.fg_zeta_scale if goal is None \
                    else ref.ref_collage
                zeta = mask * inside + (1 - mask) * zeta
            options.update(zeta=zeta, goal=goal)
        if edit.edit_method == 'flowedit':
            options['src_guide_scale'] = edit.src_guide_scale
        if start is not None:
            options['start'] = start
        with self.stage('edit'), progress(len(sigmas) - 1, 'edit') as bar:
            return EDIT_METHODS[edit.edit_method](
                z_src, velocity, sigmas, torch.Generator().manual_seed(seed),
                callback=lambda *_: bar.update(), **options)
