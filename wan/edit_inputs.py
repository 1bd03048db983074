r"""What a model is shown of template, edit and photos beside latent and text.

A model type decides it: `SIGHTS` has one class for each. The source's branch
(q) is shown the template, the edit's branches (p) what the edit is to be. So
equal inputs and prompts give the source back, and q never sees the photo.
"""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import torch

from .conditioning import Condition
from .edit_config import EditConfig
from .flowalign import BRANCHES, EDIT_METHODS
from .given_frames import frame_inputs
from .pipeline import WanPipeline
from .product.collage import collage_of
from .product.masks import Region, blocky
from .product.photo import Product
from .utils.progress import Progress
from .vace_context import vace_context

Inputs = Mapping[str, object]
NOTHING: Inputs = MappingProxyType({})


class Seen(NamedTuple):
    r"""Further inputs of the model's conditions, see `wan.conditioning`.

    Args:
        template: of the branches at the noised source.
        edit: of the branches at the noised edit.
        lead: [C, n, h, w], clean latents that p's have in front of them in
            time; None without.
    """
    template: Inputs = NOTHING
    edit: Inputs = NOTHING
    lead: torch.Tensor | None = None


UNSEEN = Seen()


class Conditions:
    r"""Conditions of prompts and further inputs, each made once.

    Args:
        pipe: its transformer must be on the device.
        prompts: embeddings [L, C] by name.
    """

    def __init__(
        self, pipe: WanPipeline, prompts: Mapping[str, torch.Tensor]
    ):
        self._pipe, self._prompts = pipe, prompts
        self._made: dict[tuple[str, int], tuple[Inputs, Condition]] = {}

    def __call__(self, prompt: str, inputs: Inputs = NOTHING) -> Condition:
        r"""Of a prompt by name, and inputs as `Seen` holds them."""
        key = prompt, id(inputs)
        if key not in self._made:
            # The inputs are kept, so that no others get their id.
            self._made[key] = inputs, self._pipe.condition(
                self._prompts[prompt], **inputs)
        return self._made[key][1]

    def beside(self, prompts: Mapping[str, torch.Tensor]) -> 'Conditions':
        r"""Of other prompts; those that are alike are not made anew."""
        other = Conditions(self._pipe, prompts)
        other._made = {
            key: made for key, made in self._made.items()
            if torch.equal(self._prompts[key[0]], prompts[key[0]])}
        return other

    def of_branches(
        self, method: str, seen: Seen = UNSEEN
    ) -> dict[str, Condition]:
        r"""Of each branch that an editing method may ask for."""
        shown = {'q': seen.template, 'p': seen.edit}
        return {
            name: self(BRANCHES[name].prompt, shown[BRANCHES[name].latent])
            for name in (*EDIT_METHODS[method].branches, 'ptr')}


@dataclass(frozen=True)
class Shown:
    r"""What the user gives a model to see.

    Args:
        video: the template, [3, F, H, W] in [-1, 1].
        products: the photos.
        src_mask: [1 or F, H, W], where the template's product is; or None.
        frames: edited frames [3, H, W] in [-1, 1]: 'first', 'last'.
        context_scale: weight of VACE's hints.
        edit: how photos are pasted.
    """
    video: torch.Tensor
    products: Sequence[Product] = ()
    src_mask: torch.Tensor | None = None
    frames: Mapping[str, torch.Tensor] = field(default_factory=dict)
    context_scale: float = 1.0
    edit: EditConfig = EditConfig()


class TextSight:
    r"""Of a text-to-video model, which sees nothing.

    Args:
        pipe: encodes what is shown.
        shown: what that is.
        offload_model: keep what encodes it off the device afterwards.

    Attributes:
        finding: what is seen when the product is looked for in the template.
    """
    finding: Inputs = NOTHING

    def __init__(
        self, pipe: WanPipeline, shown: Shown, offload_model: bool,
        progress: Progress,
    ):
        self.pipe, self.shown = pipe, shown
        self.offload_model, self.progress = offload_model, progress

    def photo(self, rgb: torch.Tensor) -> Inputs:
        r"""What is seen while a photo [3, 1, H, W] is captured."""
        return NOTHING

    def seen(self, region: Region | None) -> Seen:
        r"""What an edit's branches see.

        Args:
            region: where the edit may change the video; None everywhere.
        """
        return UNSEEN


class FrameSight(TextSight):
    r"""Of image to video: the first frame; of flf2v first and last.

    The edit's are given, or the template's with the photo pasted over the
    product.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        # Encoded before the transformer needs the device.
        self.finding = self._inputs(self.shown.video)

    def photo(self, rgb: torch.Tensor) -> Inputs:
        return self._inputs(rgb)

    def seen(self, region: Region | None) -> Seen:
        return Seen(self.finding, self._inputs(self._edited()))

    def _edited(self) -> torch.Tensor:
        r"""The template with first and last frame as the edit's are to be."""
        shown = self.shown
        video = shown.video
        if shown.src_mask is not None and shown.products \
                and shown.edit.collage != 'off':
            video = collage_of(
                video, shown.src_mask, shown.products, shown.edit).video
        video = video.clone()
        for name, place in (('first', 0), ('last', -1)):
            if name in shown.frames:
                video[:, place] = shown.frames[name]
        return video

    def _inputs(self, video):
        r"""Of the first frame of a video, or of both ends."""
        both = self.pipe.model.model_type == 'flf2v'
        last = video.size(1) - 1
        images = [video[:, i] for i in ((0, last) if both else (0,))]
        places = {0: images[0], **({last: images[1]} if both else {})}
        return frame_inputs(
            self.pipe, places, last + 1, images, self.offload_model,
            self.progress)


class ControlSight(TextSight):
    r"""Of VACE: template, mask and photos.

    The product is looked for, and photos are captured, without a context,
    which would tell the model to keep the template.
    """

    def seen(self, region: Region | None) -> Seen:
        video = self.shown.video
        height, width = video.shape[2:]
        mask = torch.ones(video.shape[1:]) if region is None \
            else blocky(region.pixels(video.shape[1:]))
        references = [
            torch.lerp(torch.ones_like(rgb), rgb, alpha) for rgb, alpha in (
                product.fitted((width, height))
                for product in self.shown.products)]
        # What is masked is grey: of the old product nothing is to be kept.
        grey = video * (1 - mask)
        nowhere = torch.zeros_like(mask)
        edit, lead = self._context(grey, mask, references)
        return Seen(self._context(video, nowhere, [])[0], edit, lead)

    def _context(self, video, mask, references):
        with self.progress.stage('encode', 1, self.pipe.device), \
                torch.no_grad(), self.pipe.on_device(
                    self.pipe.vae.model, self.offload_model):
            context, lead = vace_context(
                self.pipe.vae, video.to(self.pipe.device),
                mask.to(self.pipe.device),
                [image.to(self.pipe.device) for image in references])
        return {'vace_context': context,
                'vace_context_scale': self.shown.context_scale}, lead


# By model type.
SIGHTS: dict[str, type[TextSight]] = {
    't2v': TextSight,
    'i2v': FrameSight,
    'flf2v': FrameSight,
    'vace': ControlSight,
}
