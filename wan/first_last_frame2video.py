r"""First-last frame to video: a video between two images."""
import torch
from PIL import Image, ImageOps

from .given_frames import FramePipeline
from .step_cache import NO_CACHE, StepCacheConfig
from .utils.image import on_white
from .utils.progress import Progress

# One latent frame for the first, one for the last.
MIN_FRAME_NUM = 5


class WanFLF2V(FramePipeline):
    r"""First-last frame to video with a Wan2.1 FLF2V checkpoint."""

    model_type = 'flf2v'

    def generate(
        self,
        input_prompt: str,
        first_frame: Image.Image,
        last_frame: Image.Image,
        max_area: int = 720 * 1280,
        frame_num: int = 81,
        shift: float = 16,
        sample_solver: str = 'unipc',
        sampling_steps: int = 50,
        guide_scale: float = 5.5,
        n_prompt: str = '',
        seed: int = -1,
        offload_model: bool = True,
        *,
        step_cache: StepCacheConfig = NO_CACHE,
        progress: Progress | None = None,
    ) -> torch.Tensor | None:
        r"""Generate a video from a prompt and its first and last frame.

        Args:
            input_prompt: what to show.
            first_frame: transparent parts are white.
            last_frame: the same; of another size, it is resized to cover the
                first frame's and cropped at the centre.
            max_area: pixels of a frame at most; the first frame tells the
                aspect.
            frame_num: 4n + 1 frames, at least 5.
            shift: of the noise schedule; larger spends more steps in noise.
            sample_solver: 'unipc', 'dpm++' or 'euler'.
            sampling_steps: evaluations of the model for each prompt.
            guide_scale: classifier-free guidance; 1 is without.
            n_prompt: what not to show; '' means the config's own.
            seed: of the noise; negative draws one.
            offload_model: keep transformer, text and image encoder off the
                device while they do not run.
            step_cache: which steps are evaluated.
            progress: told of stages and steps; can cancel.

        Returns:
            [3, frame_num, height, width] in [-1, 1], of the size that
            `frame_size` tells; None on other ranks.

        Raises:
            ValueError: max_area, frame_num or sample_solver not allowed.
            FloatingPointError: sampling became non-finite.
            Cancelled: by `progress`.
        """
        check_room(frame_num)
        if last_frame.size != first_frame.size:
            last_frame = ImageOps.fit(
                on_white(last_frame), first_frame.size,
                Image.Resampling.BICUBIC)
        return self._between(
            {0: first_frame, frame_num - 1: last_frame},
            {'cond': input_prompt,
             'uncond': n_prompt or self.sample_neg_prompt},
            max_area, frame_num, seed, offload_model, progress,
            guide_scale=guide_scale, solver=sample_solver,
            steps=sampling_steps, shift=shift, step_cache=step_cache)


def check_room(frame_num: int) -> None:
    r"""Check that there is a frame each for first and last.

    Raises:
        ValueError: there is not.
    """
    if frame_num < MIN_FRAME_NUM:
        raise ValueError(
            f'frame_num is {frame_num}: a first and a last frame need at '
            f'least {MIN_FRAME_NUM}.')
