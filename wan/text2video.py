r"""Text to video, and text to image as a video of one frame."""
import torch

from .pipeline import WanPipeline


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
            offload_model: keep on the device only what is running.

        Returns:
            [3, frame_num, height, width] in [-1, 1]; None on other ranks.

        Raises:
            ValueError: size, frame_num or sample_solver not allowed.
            FloatingPointError: sampling became non-finite.
        """
        shape = self.latent_shape(size, frame_num)
        generator = self.generator(seed)
        context, context_null = self.encode_text(
            [input_prompt, n_prompt or self.sample_neg_prompt], offload_model)
        velocity = self.guided_velocity(
            context, context_null, guide_scale, self.seq_len(shape))
        latent = self.sample(
            velocity, self.noise(shape, generator), sample_solver,
            sampling_steps, shift, generator, offload_model)
        return self.decode(latent)
