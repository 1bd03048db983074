r"""An estimate of what a job needs, without reading weights."""
from ..runtime import PARALLEL, PLAIN, Runtime
from .memory import Memory, free_memory
from .task import Job


def _arrangement(runtime: Runtime) -> str:
    r"""What several processes share, by the names of the settings."""
    return ', '.join(
        f'{name} {getattr(runtime, name)}' for name in PARALLEL
        if getattr(runtime, name) != getattr(Runtime, name))


def gib(size: float) -> str:
    r"""Bytes, to be read."""
    return f'{size / 2**30:.2f} GiB'


def _levers(runtime: Runtime) -> str:
    r"""Settings that change memory, where they are not as upstream's."""
    return ', '.join(
        f'{name} {str(getattr(runtime, name)).lower()}' for name in (
            'offload_model', *PLAIN)
        if getattr(runtime, name) != PLAIN.get(name, True))


def _fitting(memory: Memory) -> str:
    r"""Which profiles fit what the device has free."""
    device = memory.job.runtime.torch_device
    free, peaks = free_memory(device), memory.profiles()
    fit = [name for name, peak in peaks.items() if peak <= free]
    return ', '.join(f'{name} {gib(peak)}' for name, peak in peaks.items()) + \
        f'; {gib(free)} free on {device}: ' + (
            f'{", ".join(fit)} {"fits" if len(fit) == 1 else "fit"}'
            if fit else 'none fits')


def plan(job: Job) -> str:
    r"""What `run` and `save` would do: prompts that a language model wrote,
    stages, shapes, estimated memory.
    """
    work, checkpoint, memory = job.work, job.checkpoint, Memory(job)
    model, (width, height) = checkpoint.model, work.size
    shape = checkpoint.latent_shape(work.size, work.frame_num, work.lead)
    windows = work.windows.of(shape[1])

    rows = [
        ('task', job.task),
        *((name, ' '.join(text.split())) for name, text in work.texts.items()),
        ('device', f'{job.runtime.device}, {job.runtime.dtype}'),
        *([('processes', _arrangement(job.runtime))]
          if job.runtime.parallel else []),
        *([('memory', levers)] if (levers := _levers(job.runtime)) else []),
        ('transformer', f'{model.num_layers} layers of {model.dim}, '
         f'{gib(memory.transformer)}'),
        ('text encoder', gib(memory.text_encoder)),
        *([('CLIP', gib(memory.image_encoder))]
          if memory.image_encoder else []),
        ('VAE', gib(memory.vae)),
        *work.told,
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
        ('peak memory', ', '.join(
            f'{name} {gib(size)}' for name, size in memory.stages.items()) +
         f'; of all {gib(memory.peak)} (estimates)'),
        *([] if job.runtime.parallel else [
            ('profiles', _fitting(memory))]),
        *(('note', note) for note in work.notes),
        ('output', str(job.save_file)),
    ]
    return '\n'.join(f'{name:<12} {value}' for name, value in rows)
