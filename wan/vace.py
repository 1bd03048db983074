r"""VACE: a video made or changed by a video, a mask and reference images."""
from collections.abc import Sequence

import torch
from easydict import EasyDict

from .modules.vae import WanVAE
from .pipeline import WanPipeline
from .step_cache import NO_CACHE, StepCacheConfig
from .utils.image import as_clip, read_image
from .utils.progress import Progress
from .utils.vace_processor import VaceVideoProcessor, prepare_source
from .vace_context import encode_frames, encode_mask

# Latent frames of the longest video that is made, 81 frames.
LATENT_FRAMES = 21

References = Sequence[Sequence[torch.Tensor] | None] | None


def source_processor(
    config: EasyDict, size: tuple[int, int]
) -> VaceVideoProcessor:
    r"""What reads source videos.

    Args:
        config: of the model.
        size: (width, height); a video keeps its shape in this area.
    """
    downsample = tuple(
        stride * patch for stride, patch in zip(
            config.vae_stride, config.patch_size, strict=True))
    area = size[0] * size[1]
    tokens = area // (downsample[1] * downsample[2])
    return VaceVideoProcessor(
        downsample, area, area, config.sample_fps, config.sample_fps,
        zero_start=True, seq_len=LATENT_FRAMES * tokens, keep_last=True)


class WanVace(WanPipeline):
    r"""Video creation and editing with a Wan2.1 VACE checkpoint."""

    def vace_encode_frames(
        self,
        frames: Sequence[torch.Tensor],
        ref_images: References,
        masks: Sequence[torch.Tensor] | None = None,
        vae: WanVAE | None = None,
    ) -> list[torch.Tensor]:
        r"""Videos to latents, what is kept and what is masked apart.

        Args:
            frames: [3, F, H, W] in [-1, 1].
            ref_images: of each video, images [3, 1, H, W], or None.
            masks: [1 or 3, F, H, W], above 0.5 is masked; None keeps all.
            vae: the pipeline's own if left out.

        Returns:
            [2 C, n + T, h, w] each; [C, ...] without masks.
        """
        vae = self.vae if vae is None else vae
        return [
            encode_frames(vae, video, mask, images or ())
            for video, mask, images in zip(
                frames, masks or [None] * len(frames),
                ref_images or [None] * len(frames), strict=True)]

    def vace_encode_masks(
        self,
        masks: Sequence[torch.Tensor],
        ref_images: References = None,
        vae_stride: Sequence[int] | None = None,
    ) -> list[torch.Tensor]:
        r"""Masks [C, F, H, W], the first channel of each, to [64, n + T, h, w].

        Args:
            ref_images: of each video, images that come before it, or None.
            vae_stride: the pipeline's own if left out.
        """
        stride = self.vae_stride if vae_stride is None else vae_stride
        return [
            encode_mask(mask[0], len(images or ()), stride)
            for mask, images in zip(
                masks, ref_images or [None] * len(masks), strict=True)]

    def vace_latent(
        self, z: Sequence[torch.Tensor], m: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        r"""The contexts, of encoded frames and encoded masks."""
        return [torch.cat(pair) for pair in zip(z, m, strict=True)]

    def prepare_source(
        self,
        src_video: Sequence[str | None],
        src_mask: Sequence[str | None],
        src_ref_images: Sequence[Sequence[str] | None],
        num_frames: int,
        image_size: tuple[int, int],
        device: torch.device | str,
    ) -> tuple[list, list, list]:
        r"""What `generate` takes, read from files.

        Args:
            src_video: files; None is a grey video. Frames are taken as they
                are stored, from the first to the last, whatever their rate.
            src_mask: videos or pictures, white where something new is to be
                made; None is everywhere.
            src_ref_images: of each video, pictures, or None.
            num_frames: of a grey video, 4n + 1.
            image_size: (width, height) of a grey video; any other keeps its
                shape in this area.
            device: of what is returned.

        Returns:
            Videos [3, F, H, W]; masks [1, F, H, W]; pictures [3, 1, H, W].

        Raises:
            ValueError: an unreadable file, a mask without a video, or one of
                another shape or length.
        """
        processor = source_processor(self.config, image_size)
        videos, masks = [], []
        for path, mask in zip(src_video, src_mask, strict=True):
            choice = path and processor.plan(path, mask)
            videos.append(path and processor.read(path, choice))
            # Without a video it is refused, unread.
            masks.append(
                processor.read_mask(mask, choice) if path and mask else mask)
        images = [paths and [as_clip(read_image(path)) for path in paths]
                  for paths in src_ref_images]
        return prepare_source(
            videos, masks, images, num_frames, image_size[::-1], device)

    def generate(
        self,
        input_prompt: str,
        input_frames: Sequence[torch.Tensor],
        input_masks: Sequence[torch.Tensor],
        input_ref_images: References,
        size: tuple[int, int] = (1280, 720),
        frame_num: int = 81,
        context_scale: float = 1.0,
        shift: float = 5.0,
        sample_solver: str = 'unipc',
        sampling_steps: int = 50,
        guide_scale: float = 5.0,
        n_prompt: str = '',
        seed: int = -1,
        offload_model: bool = True,
        *,
        step_cache: StepCacheConfig = NO_CACHE,
        progress: Progress | None = None,
    ) -> torch.Tensor | None:
        r"""Generate a video from a prompt and a context.

        Args:
            input_prompt: what to show.
            input_frames: one video [3, 4n + 1, H, W] in [-1, 1].
            input_masks: its mask [1 or 3, 4n + 1, H, W]; above 0.5 something
                new is made, elsewhere the video is kept.
            input_ref_images: one list of images [3, 1, H, W], or None.
            size, frame_num: those of `input_frames` count, which
                `prepare_source` made of such values.
            context_scale: weight of the context; 0 is without.
            shift, sample_solver, sampling_steps, guide_scale, n_prompt, seed,
                offload_model, step_cache, progress: see `WanT2V.generate`.

        Returns:
            [3, 4n + 1, H, W] in [-1, 1]; None on other ranks.

        Raises:
            ValueError: not one video, or parts that do not fit it, or a
                sample_solver that is not known.
            FloatingPointError: sampling became non-finite.
            Cancelled: by `progress`.
        """
        progress = progress or Progress()
        references = list((input_ref_images or [None])[0] or ())
        shape = self._checked(
            input_frames, input_masks, input_ref_images, references)
        lead = len(references)
        shape = (shape[0], lead + shape[1], *shape[2:])
        noise = self.noise(shape, self.generator(seed))
        prompts = {'cond': input_prompt,
                   'uncond': n_prompt or self.sample_neg_prompt}
        embeddings = self.encode_text(prompts, offload_model, progress)
        with progress.stage('encode', 1, self.device), torch.no_grad(), \
                self.on_device(self.vae.model, offload_model):
            masks = [mask.to(self.device) for mask in input_masks]
            images = [[image.to(self.device) for image in references]]
            context, = self.vace_latent(
                self.vace_encode_frames(
                    [video.to(self.device) for video in input_frames], images,
                    masks),
                self.vace_encode_masks(masks, images))
        latent = self.sample(
            embeddings, guide_scale, noise, sample_solver, sampling_steps,
            shift, offload_model, progress, step_cache=step_cache,
            vace_context=context, vace_context_scale=context_scale)
        return self.decode(latent[:, lead:], progress)

    def _checked(self, frames, masks, ref_images, references):
        r"""The latent's shape, of a video whose other parts fit."""
        if not len(frames) == len(masks) == len(ref_images or [None]) == 1:
            raise ValueError(
                f'There are {len(frames)} videos, {len(masks)} masks and '
                f'{len(ref_images or [None])} lists of reference images; one '
                f'each is generated from.')
        _, length, height, width = shape = tuple(frames[0].shape)
        if masks[0].shape[1:] != shape[1:] or masks[0].size(0) not in (1, 3):
            raise ValueError(
                f'The mask has shape {tuple(masks[0].shape)}, it must be that '
                f'of the video, {shape}, with 1 or 3 channels.')
        for image in references:
            if tuple(image.shape) != (3, 1, height, width):
                raise ValueError(
                    f'A reference image has shape {tuple(image.shape)}, it '
                    f'must be {(3, 1, height, width)}.')
        return self.latent_shape((width, height), length)

    def decode_latent(
        self,
        zs: Sequence[torch.Tensor],
        ref_images: References = None,
        vae: WanVAE | None = None,
    ) -> list[torch.Tensor]:
        r"""Latents [C, n + T, h, w] to videos, without their references.

        Args:
            ref_images: of each video, the images that come before it.
            vae: the pipeline's own if left out.
        """
        vae = self.vae if vae is None else vae
        return vae.decode([
            z[:, len(images or ()):] for z, images in zip(
                zs, ref_images or [None] * len(zs), strict=True)])
