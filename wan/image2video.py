r"""Image to video: a video that begins with an image."""
import torch
from PIL import Image

from .given_frames import FramePipeline
from .step_cache import NO_CACHE, StepCacheConfig
from .utils.progress import Progress


class WanI2V(FramePipeline):
    r"""Image to video with a Wan2.1 I2V checkpoint."""

    model_type = 'i2v'

    def generate(
        self,
        input_prompt: str,
        img: Image.Image,
        max_area: int = 720 * 1280,
        frame_num: int = 81,
        shift: float = 5.0,
        sample_solver: str = 'unipc',
        sampling_steps: int = 40,
        guide_scale: float = 5.0,
        n_prompt: str = '',
        seed: int = -1,
        offload_model: bool = True,
        *,
        step_cache: StepCacheConfig = NO_CACHE,
        progress: Progress | None = None,
    ) -> torch.Tensor | None:
        r"""Generate a video from a prompt and its first frame.

        Args:
            input_prompt: what to show.
            img: the first frame; transparent parts are white.
            max_area: pixels of a frame at most; the image tells the aspect.
            frame_num: 4n + 1 frames.
            shift: of the noise schedule; 3 is advised for 480p.
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
        return self._between(
            {0: img}, {'cond': input_prompt,
                       'uncond': n_prompt or self.sample_neg_prompt},
            max_area, frame_num, seed, offload_model, progress,
            guide_scale=guide_scale, solver=sample_solver,
            steps=sampling_steps, shift=shift, step_cache=step_cache)
