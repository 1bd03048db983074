r"""An estimate of what a job needs, without reading weights."""
import math
from dataclasses import dataclass

from ..distributed.groups import world_size
from ..runtime import PARALLEL, Runtime
from ..utils.checkpoint import sidecar
from .task import Job

# The residual stream, q, k, v and what is alive beside them, float32.
STREAMS = 6
# Floats of one pixel while the VAE decodes, in units of its width: four
# frames of features at full size, a few of them alive at a time.
FEATURES = 6 * 4


@dataclass(frozen=True)
class Memory:
    r"""Bytes at the peak of what runs one after another, of a job."""
    job: Job

    @property
    def text_encoder(self) -> int:
        return self.job.checkpoint.text_encoder_file.stat().st_size

    @property
    def image_encoder(self) -> int:
        r"""0 where the model sees no images."""
        file = self.job.checkpoint.clip_file
        return 0 if file is None else file.stat().st_size

    @property
    def transformer(self) -> int:
        r"""The weights alone."""
        return self._itemsize * sum(
            p.numel() for p in self.job.checkpoint.model.parameters())

    @property
    def sampling(self) -> int:
        r"""The weights, a step's samples, and the reference they read."""
        work, checkpoint = self.job.work, self.job.checkpoint
        model = checkpoint.model
        per_token = 4 * STREAMS * model.dim + \
            2 * self._itemsize * model.ffn_dim
        samples = work.batch if work.packed is None else work.packed
        tokens = int(samples * self.job.tokens) // self.job.runtime.sp_size
        bank = 2 * model.dim * self._itemsize * model.num_layers
        return self.transformer // self._spread + tokens * per_token + \
            work.bank_tokens * bank

    @property
    def vae(self) -> int:
        return self.job.checkpoint.vae_file.stat().st_size

    @property
    def decoding(self) -> int:
        r"""The VAE, its features, and the video itself."""
        pixels = math.prod(self.job.work.size)
        width = sidecar(self.job.checkpoint.vae_file).get('dim', 96)
        frames = self.job.work.frame_num
        return self.vae + 4 * pixels * (FEATURES * width + 3 * frames)

    @property
    def _spread(self) -> int:
        r"""Processes that share the transformer's weights."""
        runtime = self.job.runtime
        return world_size() // runtime.branch_parallel \
            if runtime.dit_fsdp else 1

    @property
    def _itemsize(self) -> int:
        return self.job.runtime.torch_dtype.itemsize


def _arrangement(runtime: Runtime) -> str:
    r"""What several processes share, by the names of the settings."""
    return ', '.join(
        f'{name} {getattr(runtime, name)}' for name in PARALLEL
        if getattr(runtime, name) != getattr(Runtime, name))


def plan(job: Job) -> str:
    r"""What `run` and `save` would do: prompts that a language model wrote,
    stages, shapes, estimated memory.
    """
    work, checkpoint, memory = job.work, job.checkpoint, Memory(job)
    model, (width, height) = checkpoint.model, work.size
    shape = checkpoint.latent_shape(work.size, work.frame_num, work.lead)
    windows = work.windows.of(shape[1])

    def gib(size):
        return f'{size / 2**30:.2f} GiB'

    rows = [
        ('task', job.task),
        *((name, ' '.join(text.split())) for name, text in work.texts.items()),
        ('device', f'{job.runtime.device}, {job.runtime.dtype}'),
        *([('processes', _arrangement(job.runtime))]
          if job.runtime.parallel else []),
        ('transformer', f'{model.num_layers} layers of {model.dim}, '
         f'{gib(memory.transformer)}'),
        ('text encoder', gib(memory.text_encoder)),
        *([('CLIP', gib(memory.image_encoder))]
          if memory.image_encoder else []),
        ('VAE', gib(memory.vae)),
        ('video', f'3x{work.frame_num}x{height}x{width}'),
        ('latent', 'x'.join(map(str, shape)) + ', ' + str(
            checkpoint.tokens(work.size, work.frame_num, work.lead)) +
         ' tokens'),
        *([('windows', f'{len(windows)} of {work.windows.window_frames} '
            f'frames, neighbours share {work.windows.window_overlap} or more')]
          if len(windows) > 1 else []),
        ('sampling', f'{work.steps} steps x ' +
         (f'{len(windows)} windows x ' if len(windows) > 1 else '') +
         f'{work.evaluations} evaluations' +
         (f', {work.batch} at once' if work.batch > 1
          and work.packed is None else '') +
         ''.join(f', {saving}' for saving in work.savings)),
        ('stages', ', '.join(job.stages)),
        ('peak memory', f'text encoder {gib(memory.text_encoder)}, sampling '
         f'{gib(memory.sampling)}, decoding {gib(memory.decoding)} '
         f'(estimates; offloading keeps one at a time)'),
        *(('note', note) for note in work.notes),
        ('output', str(job.save_file)),
    ]
    return '\n'.join(f'{name:<12} {value}' for name, value in rows)
