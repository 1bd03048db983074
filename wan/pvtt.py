r"""Product video template transfer: the product in a video replaced by
another, shown in a photo, without training.

FlowAlign (arXiv 2505.23145) edits the template's latent along the difference
of two velocities; RefDrop (2405.17661) lets the edit's self-attentions read a
bank of the photo's keys and values. The steps stand in `edit_steps`.
"""
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import torch

from .edit_config import EditConfig
from .edit_inputs import Shown
from .edit_steps import NOWHERE
from .pending import Answer, Pending
from .product.finding import AUTO, Finding
from .product.masks import Region
from .product.photo import Product
from .refdrop.config import RefConfig
from .sparse import DENSE, SparseConfig
from .step_cache import NO_CACHE, StepCacheConfig
from .together import EditsTogether
from .utils.kept import NOTHING_KEPT, Kept
from .utils.progress import Cancelled, Progress
from .windows import OFF, WindowConfig


@dataclass(frozen=True)
class PVTTResult:
    r"""What an edit gives; videos [3, F, H, W] in [-1, 1] on the CPU.

    Args:
        video: the edited video.
        round_trip: the template through the VAE and back, the best any edit
            can do for the background; None if it was not asked for.
        region: where the edit may have changed it; None is everywhere.
        edit, ref: the settings, with what was left out filled in.
        used: whether 'mask', 'reference', 'collage' and 'sparse' branches
            had a part in it.
        notes: what the user should know.
    """
    video: torch.Tensor
    round_trip: torch.Tensor | None
    region: Region | None
    edit: EditConfig
    ref: RefConfig
    used: Mapping[str, bool]
    notes: tuple[str, ...] = ()

    @property
    def mask(self) -> torch.Tensor | None:
        r"""[F, H, W] in [0, 1], the region in pixels; None without one."""
        return None if self.region is None \
            else self.region.pixels(self.video.shape[1:])


# An edit in two halves, which waits for its latent in between.
Editing = Generator[Pending, Answer, PVTTResult | None]


class WanPVTT(EditsTogether):
    r"""Template video and product photos in, edited video out."""

    def editing(
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
        seed: int = -1,
        offload_model: bool = True,
        *,
        frames: Mapping[str, torch.Tensor] | None = None,
        context_scale: float = 1.0,
        windows: WindowConfig = OFF,
        finding: Finding = AUTO,
        sparse: SparseConfig = DENSE,
        step_cache: StepCacheConfig = NO_CACHE,
        round_trip: bool = False,
        kept: Kept = NOTHING_KEPT,
        progress: Progress | None = None,
    ) -> Editing:
        r"""Replace the product of a template video, for `together`.

        It encodes, waits for the edited latent, and decodes that.

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
                products; their cross-attention helps to find the mask.
            use_mask: False edits, and reads the reference, everywhere.
            n_prompt: negative prompt of all methods but flowalign.
            ref_bank: file that keeps the captured bank for further videos.
            reverse_from: an edited video [3, F, H, W] from which to
                integrate back to the template, with the edit's own seed and
                settings. Well-conditioned only for zeta up to about 0.01.
            seed: of the loop's noise; negative draws one.
            offload_model: keep transformer and text encoder off the device
                while they do not run.
            frames: of an image-to-video checkpoint, edited frames [3, H, W]
                in [-1, 1] by name, 'first' or 'last', that the edit is to
                have; those left out are the template's with the photo pasted
                into `src_mask`.
            context_scale: weight of a VACE checkpoint's hints.
            windows: in which a template longer than the model's clips is
                edited; of a text-to-video checkpoint.
            finding: how the product is looked for, if `src_mask` is not given.
            sparse: where the edit is evaluated; of all checkpoints but
                vace's, by one process, with a method of `wan.sparse.ABLE`.
            step_cache: which steps are evaluated.
            round_trip: decode the template too, to measure against: as much
                time again as the result takes.
            kept: encoded prompts and templates of earlier runs, which are
                not encoded again; takes those of this one.
            progress: told of stages and steps; can cancel.
        """
        progress = progress or Progress()
        edit = (edit or EditConfig()).resolved(self.config)
        ref = ref or RefConfig()
        if products:
            if edit.view_angles:
                ref = ref.shared(len(products))
            ref.check_photos(len(products))
            edit.check_views(len(products), src_video.size(1))
        scene = self._scene(
            src_video, source_prompt, target_prompt, source_blend,
            target_blend, n_prompt, seed, offload_model, progress, kept)
        # What the VAE encodes comes before the transformer needs the device.
        start, placed = None, NOWHERE
        if reverse_from is not None:
            start = self.encode_video(reverse_from, progress)
        if use_mask and src_mask is not None:
            placed = self.place(scene, src_mask, edit, products, progress)
        sight = self.sight(
            Shown(src_video, products, src_mask, frames or {}, context_scale,
                  edit),
            offload_model, progress)
        # No name outlives this: photos may hold a bank, whose memory decoding
        # needs.
        latent, placed, used, notes = yield Pending(
            scene, edit, ref, finding, sparse, step_cache, windows, products,
            sight, self.encode_photos(
                scene, products, ref, progress, ref_bank, target_prompt, sight)
            if products and ref.reads(
                len(self.model.blocks), len(edit.sigmas) - 1) else None,
            placed, None if use_mask and src_mask is None
            else sight.seen(placed.region),
            start, offload_model, progress)
        if start is not None:  # the template comes back, not the collage
            placed = placed._replace(collage=None)
        video = self.finished(scene, latent, edit, placed, progress)
        back = self.decode(scene.latent, progress) if round_trip else None
        if video is None:
            return None
        region = None if placed.region is None else placed.region.to('cpu')
        return PVTTResult(video, back, region, edit, ref, used, tuple(notes))

    @wraps(editing, ())
    def generate(self, *args, **kwargs) -> PVTTResult | None:
        r"""Replace the product of a template video.

        The arguments are those of `editing`.

        Returns:
            The result; None on other ranks than 0.

        Raises:
            ValueError: sizes, words or settings that do not fit.
            FloatingPointError: the edit became non-finite.
            Cancelled: by `progress`.
        """
        (_, result), = self.together([self.editing(*args, **kwargs)])
        if isinstance(result, Exception):
            raise result
        return result

    def together(
        self, edits: Sequence[Editing]
    ) -> Iterator[tuple[int, PVTTResult | None | Exception]]:
        r"""Run edits of one template, whose source is evaluated once.

        Each result is that of the edit's own run. Edits that cannot share
        their source, and all of those whose joint loop fails, are run one
        by one, which is logged.

        Args:
            edits: from `editing`: one, or several that differ in products,
                target prompts and masks alone, with a method of
                `wan.sparse.ABLE`, not in reverse, and with photos that the
                source's branches do not read.

        Yields:
            The number of an edit that has ended, and its result, or what it
            was ended by.

        Raises:
            Cancelled: by the progress of the first.
        """
        waiting, pending = [], []
        for number, edit in enumerate(edits):
            try:
                pending.append(next(edit))
                waiting.append(number)
            except Cancelled:
                raise
            except Exception as error:
                yield number, error
        answers = self.answers(pending) if pending else []
        del pending
        for number in waiting:
            yield number, _ended(edits[number], answers.pop(0))

    def locate(
        self,
        src_video: torch.Tensor,
        source_prompt: str,
        target_prompt: str,
        source_blend: str = '',
        target_blend: str = '',
        n_prompt: str = '',
        seed: int = -1,
        offload_model: bool = True,
        *,
        windows: WindowConfig = OFF,
        finding: Finding = AUTO,
        kept: Kept = NOTHING_KEPT,
        progress: Progress | None = None,
    ) -> torch.Tensor | None:
        r"""Where the product of a template is, found as `generate` finds it.

        Returns:
            [F, H, W], 0 or 1, on the CPU; None when nothing tells.

        Raises:
            ValueError: see `generate`.
        """
        progress = progress or Progress()
        scene = self._scene(
            src_video, source_prompt, target_prompt, source_blend,
            target_blend, n_prompt, seed, offload_model, progress, kept)
        sight = self.sight(Shown(src_video), offload_model, progress)
        with torch.no_grad(), self.on_device(self.model, offload_model):
            return self.find(
                scene, self.conditions(scene), progress, sight.finding,
                windows.of(scene.latent.size(1)), finding)

    def _scene(
            self, video, source_prompt, target_prompt, source_blend,
            target_blend, n_prompt, seed, offload_model, progress, kept):
        r"""The template and its prompts as the model sees them."""
        words = self.blend_words(
            source_prompt, source_blend, target_prompt, target_blend)
        prompts = {'source': source_prompt, 'target': target_prompt,
                   'null': n_prompt or self.sample_neg_prompt}
        return self.read(video, prompts, words, self.drawn(seed),
                         offload_model, progress, kept)


def _ended(
    edit: Editing, answer: Answer | Exception
) -> PVTTResult | None | Exception:
    r"""What an edit that waits makes of its answer."""
    try:
        edit.throw(answer) if isinstance(answer, Exception) \
            else edit.send(answer)
    except StopIteration as end:
        return end.value
    except Cancelled:
        raise
    except Exception as error:
        return error
    raise RuntimeError('An edit waits for a second answer.')
