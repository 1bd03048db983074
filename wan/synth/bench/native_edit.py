r"""Running a row on a native pair."""
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from wan.edit_steps import EditSteps
from wan.product.stitch import laid
from wan.product.view import (
    View,
    around,
    coarse_size,
    resized,
    squeezed,
    whole,
)
from wan.pvtt import PVTTResult

from .edit import PairEditor
from .native_measures import WINDOWS, iou, measure_native
from .native_rows import NativeRow
from .pairs import Pair

# (width, height) that the embedded model sees.
SEEN = 128, 128
# A mask that is found again, but not where it was, is not believed.
AGREEING = 0.3


class NativeEditor(PairEditor):
    r"""All that the rows of one native pair share, and their edits."""

    def __init__(self, load: Callable[[], EditSteps], pair: Pair):
        super().__init__(load, pair)
        self.results: dict[tuple, tuple[Tensor, PVTTResult]] = {}
        self.found: dict[tuple, Tensor | None] = {}

    @property
    def frame(self) -> tuple[int, int]:
        r"""(width, height)."""
        return self.pair.clip.shape[::-1]

    @property
    def texts(self) -> dict[str, object]:
        r"""What an edit and the search for its product are told."""
        prompts, words = self.pair.prompts('hidden'), self.pair.words
        return {'source_prompt': prompts[0], 'target_prompt': prompts[1],
                'source_blend': words[0], 'target_blend': words[1],
                'seed': self.pair.seed, 'offload_model': False,
                'windows': WINDOWS}

    @property
    def first(self) -> Tensor | None:
        r"""The mask that is found without knowing where to look."""
        return self.located(squeezed(
            self.frame, SEEN, self.pair.clip.frames))

    @torch.no_grad()
    def run(self, row: NativeRow, photo: str) -> Tensor:
        r"""The row's video [3, T, H, W] in [-1, 1]."""
        if row.kind in ('copy', 'paste'):
            return super().run(row, photo)
        view = self.view(row)
        if row.kind == 'ceiling':
            return self.scaled(self.pipe.decode(self.pipe.encode_video(
                self.seen(self.truth, view), self.progress),
                self.progress).cpu(), view)
        clip, result = self.edited(row, photo, view)
        if row.laid:
            pieces = laid(result.video, clip, result.region, view)
            frames = [piece.over(frame) for piece, frame in zip(
                pieces, self.source.unbind(1), strict=True)]
            return torch.stack(frames, 1)
        return self.scaled(result.video, view)

    def scaled(self, video: Tensor, view: View) -> Tensor:
        r"""What the model saw, all in the template's size."""
        return torch.stack([
            view.put(video[:, i], i, self.frame, -1.)
            for i in range(self.source.size(1))], 1)

    def measure(self, row: NativeRow, video: Tensor) -> dict[str, float]:
        r"""The benchmark's measures, and those of native edits."""
        used, window = None, 1.
        if row.kind == 'edit':
            used, window = self.mask(row), self.view(row).share
        return measure_native(video, self.answer, used, window)

    def view(self, row: NativeRow) -> View:
        r"""What the model sees in a row."""
        # The window of a mask that is found again is that of the first.
        mask = self.coarse if row.mask == 'true' else self.first
        if row.sight != 'window' or mask is None or not mask.any():
            return whole(self.frame, SEEN, self.pair.clip.frames,
                         pad=row.sight != 'middle')
        return around(mask, self.frame, SEEN, row.context, row.enlarged,
                      row.margin)

    def mask(self, row: NativeRow) -> Tensor | None:
        r"""[T, h, w] of the whole template; None where nothing tells."""
        if row.mask == 'true':
            return self.answer.old
        first = self.first
        if row.mask == 'found' or first is None:
            return first
        again = self.located(self.view(row))
        if again is None or iou(again, first) < AGREEING:
            return first
        return again

    @cached_property
    def coarse(self) -> Tensor:
        r"""The true mask [T, h, w], small."""
        return resized(self.answer.old, coarse_size(self.frame))

    def located(self, view: View) -> Tensor | None:
        r"""The mask that is found in a view, small, of the whole template."""
        key = view.box, view.corners
        if key not in self.found:
            mask = self.pipe.locate(self.seen(self.source, view), **self.texts)
            size = coarse_size(self.frame)
            self.found[key] = None if mask is None else torch.cat([
                view.put(mask[i][None].float(), i, size)
                for i in range(self.source.size(1))])
        return self.found[key]

    def seen(self, video: Tensor, view: View, ground: float = -1.) -> Tensor:
        r"""[C, 4n + 1, h, w]: a video [C, T, H, W] as the model sees it."""
        frames = [view.take(frame, i, ground)
                  for i, frame in enumerate(video.unbind(1))]
        more = -(len(frames) - 1) % 4
        return torch.stack(frames + frames[-1:] * more, 1)

    def edited(
        self, row: NativeRow, photo: str, view: View
    ) -> tuple[Tensor, PVTTResult]:
        r"""The clip that the model saw, and what it made of it."""
        key = view.box, view.corners, row.mask, row.edit, row.ref, photo
        if key not in self.results:
            clip, mask = self.seen(self.source, view), self.mask(row)
            if mask is not None:
                mask = (self.seen(mask[None], view, 0.)[0] > 0.5).float()
                mask = mask if mask.any() else None
            self.results[key] = clip, self.pipe.generate(
                clip, self.products(row, photo), edit=row.edit, ref=row.ref,
                src_mask=mask, use_mask=mask is not None, round_trip=False,
                **self.texts)
        return self.results[key]
