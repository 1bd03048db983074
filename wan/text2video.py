r"""Text to video, and text to image as a video of one frame."""
import torch

from .pipeline import WanPipeline
from .step_cache import NO_CACHE, StepCacheConfig
from .utils.progress import Progress
from .windows import OFF, WindowConfig


class WanT2V(WanPipeline):
    r"""Text to video with a Wan2.1 T2V checkpoint."""

    def generate(
        self,
        input_prompt: str,
        size: tuple[int, int] = (1280, 720),
        frame_num: int = 81,
        shift: float = 5.0,
        sample_solver: str = 'unipc',
        sampling_steps: int = 50,
        guide_scale: float = 5.0,
        n_prompt: str = '',
        seed: int = -1,
        offload_model: bool = True,
        *,
        windows: WindowConfig = OFF,
        step_cache: StepCacheConfig = NO_CACHE,
        progress: Progress | None = None,
    ) -> torch.Tensor | None:
        r"""Generate a video from a prompt.

        Args:
            input_prompt: what to show.
            size: (width, height) in pixels, multiples of 16.
            frame_num: 4n + 1 frames.
            shift: of the noise schedule; larger spends more steps in noise.
            sample_solver: 'unipc', 'dpm++' or 'euler'.
            sampling_steps: evaluations of the model for each prompt.
            guide_scale: classifier-free guidance; 1 is without.
            n_prompt: what not to show; '' means the config's own.
            seed: of the noise; negative draws one.
            offload_model: keep transformer and text encoder off the device
                while they do not run.
            windows: in which a clip longer than the model's is made.
            step_cache: which steps are evaluated.
            progress: told of stages and steps; can cancel.

        Returns:
            [3, frame_num, height, width] in [-1, 1]; None on other ranks.

        Raises:
            ValueError: size, frame_num or sample_solver not allowed.
            FloatingPointError: sampling became non-finite.
            Cancelled: by `progress`.
        """
        progress = progress or Progress()
        shape = self.latent_shape(size, frame_num)
        noise = self.noise(shape, self.generator(seed))
        prompts = {'cond': input_prompt,
                   'uncond': n_prompt or self.sample_neg_prompt}
        latent = self.sample(
            self.encode_text(prompts, offload_model, progress), guide_scale,
            noise, sample_solver, sampling_steps, shift, offload_model,
            progress, windows, step_cache)
        return self.decode(latent, progress)
