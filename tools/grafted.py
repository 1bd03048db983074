r"""PVTT on Wan2.1's own networks.

tools/graft.py copies this file into a checkout of Wan2.1 as wan/grafted.py,
beside the method's own files; it uses Wan2.1's networks by the names that are
public there. A Wan2.1 model takes no text projected beforehand and has no
slots in its cross-attention, so that the mask is given or found from
velocities, never from words.
"""
import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn

from wan import pvtt
from wan.configs import SIZE_CONFIGS, WAN_CONFIGS
from wan.edit_config import PRESETS, EditConfig
from wan.modules.model import WanModel
from wan.modules.t5 import T5EncoderModel
from wan.modules.vae import WanVAE
from wan.pipeline import Parts
from wan.product.photo import Product
from wan.refdrop.config import RefConfig
from wan.runtime import Runtime
from wan.utils import flags
from wan.utils.flags import build, choice, path
from wan.utils.image import open_image, read_mask_image
from wan.utils.mask_file import read_mask
from wan.utils.video import read_video

log = logging.getLogger(__name__)


class GraftedModel(nn.Module):
    r"""Wan2.1's transformer, called as ours is.

    Args:
        model: of a text-to-video checkpoint.
        dtype: it computes in on a GPU, as Wan2.1's pipelines have it.
    """
    made_of = None

    def __init__(self, model: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.model = model
        self.dtype = dtype

    def __getattr__(self, name):
        # nn.Module finds `model` here and nothing of what that has.
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__('model'), name)

    def forward(self, x, t, context, seq_len, ref=None, attend=None, **more):
        r"""As of ours; the attention is Wan2.1's whatever `attend` is."""
        given = [name for name, value in more.items() if value is not None]
        if given:
            raise ValueError(
                f"Wan2.1's model takes no {', '.join(given)}.")
        kind = x[0].device.type
        # Embeddings may be rounded, which without autocast does not fit.
        text = [u.to(self.model.patch_embedding.weight.dtype)
                for u in context]
        with torch.autocast(kind, dtype=self.dtype, enabled=kind == 'cuda'):
            return self.model(x, t=t, context=text, seq_len=seq_len, ref=ref)


class GraftedVAE:
    r"""Wan2.1's VAE, which takes a clip as a whole."""

    def __init__(self, vae):
        self.vae, self.model = vae, vae.model

    def encode_chunks(self, frames):
        r"""Parts [3, n, H, W] of a clip to its latent [C, T, h, w]."""
        return self.vae.encode([torch.cat(list(frames), 1)])[0]

    def decode_chunks(self, z):
        r"""A latent [C, T, h, w] to one part, the clip [3, F, H, W]."""
        yield self.vae.decode([z])[0]


class WanPVTT(pvtt.WanPVTT):
    r"""Template video and product photos in, edited video out."""

    def __init__(
        self,
        config,
        checkpoint_dir: str | Path,
        device_id: int = 0,
        rank: int = 0,
        t5_cpu: bool = False,
    ):
        r"""Load a checkpoint folder by Wan2.1's own loaders.

        Args:
            config: an entry of `WAN_CONFIGS`.
            checkpoint_dir: of a text-to-video model.
            device_id: number of the CUDA device.
            rank: of this process; only rank 0 gets a result.
            t5_cpu: encode text on the CPU.

        Raises:
            ValueError: a model of another type.
        """
        cuda = torch.cuda.is_available()
        runtime = Runtime(
            device=f'cuda:{device_id}' if cuda else None, t5_cpu=t5_cpu,
            cache_text=False).resolved()
        folder = Path(checkpoint_dir)
        model = WanModel.from_pretrained(folder)
        if model.model_type != 't2v':
            raise ValueError(
                f'{folder} is of type {model.model_type}; on a grafted '
                f'checkout pvtt needs a text-to-video model.')
        text = T5EncoderModel(
            text_len=config.text_len, dtype=config.t5_dtype,
            device=torch.device('cpu'),
            checkpoint_path=str(folder / config.t5_checkpoint),
            tokenizer_path=str(folder / config.t5_tokenizer))
        vae = WanVAE(vae_pth=str(folder / config.vae_checkpoint),
                     device=runtime.torch_device)
        model.eval().requires_grad_(False)
        self._assemble(
            Parts(GraftedModel(model, config.param_dtype), text,
                  GraftedVAE(vae)), config, runtime, rank)

    def blend_words(self, source, source_blend, target, target_blend):
        r"""No words: their attention cannot be seen here.

        Raises:
            ValueError: some are given.
        """
        if source_blend or target_blend:
            raise ValueError(
                "Wan2.1's cross-attention does not show words: give a mask.")
        return {}


@dataclass(frozen=True)
class PVTTInputs:
    r"""Product video template transfer.

    Args:
        src_video: the template.
        src_mask: video or image, white where the template's product is.
        target_image: photos of the new product; given several times, or
            one text in which commas separate them.
        target_mask: masks of the photos, white is product.
        source_prompt: describes the template.
        target_prompt: the same with the new product.
        n_prompt: what not to show, for flowedit and sdedit.
        use_mask: edit, and read the photo, only where the product is.
        ref_preset: settings that go together; given ones override it.
    """
    src_video: str | None = path()
    src_mask: str | None = path()
    target_image: tuple[str, ...] = path(several=True)
    target_mask: tuple[str, ...] = path(several=True)
    source_prompt: str = ''
    target_prompt: str = ''
    n_prompt: str = ''
    use_mask: bool = True
    ref_preset: str | None = choice(None, PRESETS)

    def __post_init__(self):
        flags.check_choices(self)


class _Unasked(float):
    r"""Another task's default of a flag, which nobody has given."""


# Flags of other tasks, and their values when they are not given.
OTHERS = {
    'prompt': None, 'use_prompt_extend': False, 'image': None,
    'first_frame': None, 'last_frame': None, 'src_ref_images': None,
    'sample_solver': 'unipc', 'ulysses_size': 1, 'ring_size': 1,
    't5_fsdp': False, 'dit_fsdp': False}


def add_flags(parser: argparse.ArgumentParser) -> None:
    r"""The flags of an edit that Wan2.1 does not have already."""
    for cls in (PVTTInputs, EditConfig, RefConfig):
        group = parser.add_argument_group(f'pvtt: {flags.heading(cls)}')
        before = set(parser._actions)
        flags.add_flags(group, cls)
        for action in set(parser._actions) - before:
            action.default = None  # a preset fills in what is not given
    parser.set_defaults(sample_guide_scale=_Unasked(
        parser.get_default('sample_guide_scale')))


def pvtt_video(args: argparse.Namespace) -> torch.Tensor:
    r"""The edited video [3, F, H, W] in [-1, 1], on the CPU.

    Args:
        args: of Wan2.1's command line; its `prompt`, of which a file is
            named, becomes the target's.

    Raises:
        ValueError: the first thing wrong, in one sentence.
    """
    given = {name: value for name, value in vars(args).items()
             if value is not None and not isinstance(value, _Unasked)}
    _check(args, given)
    inputs = build(PVTTInputs, given)
    settings = {**PRESETS.get(inputs.ref_preset, {}), **given}
    config, size = WAN_CONFIGS[args.task], SIZE_CONFIGS[args.size]
    clip = read_video(
        inputs.src_video, size, config.sample_fps, args.frame_num)
    clip = clip[:, :(clip.size(1) - 1) // 4 * 4 + 1]
    mask = inputs.src_mask and read_mask(
        inputs.src_mask, size, config.sample_fps, clip.size(1))
    pipe = WanPVTT(config, args.ckpt_dir, t5_cpu=args.t5_cpu)
    result = pipe.generate(
        clip, _products(inputs), inputs.source_prompt, inputs.target_prompt,
        build(EditConfig, settings), build(RefConfig, settings), mask,
        use_mask=inputs.use_mask, n_prompt=inputs.n_prompt,
        seed=args.base_seed, offload_model=args.offload_model,
        round_trip=False)
    for note in result.notes:
        log.warning(note)
    args.prompt = inputs.target_prompt
    return result.video


def _check(args, given) -> None:
    r"""Check what needs neither files nor weights."""
    for name, unused in OTHERS.items():
        if getattr(args, name) != unused:
            raise ValueError(f'--{name} is not for --task pvtt.')
    for name in ('src_video', 'source_prompt', 'target_prompt'):
        if not given.get(name):
            raise ValueError(f'--{name} is missing.')


def _products(inputs: PVTTInputs) -> list[Product]:
    photos, masks = inputs.target_image, inputs.target_mask
    if masks and len(masks) != len(photos):
        raise ValueError(
            f'target_mask names {len(masks)} masks for {len(photos)} photos; '
            f'one each is needed.')
    return [
        Product(open_image(photo)[0], mask and read_mask_image(mask))
        for photo, mask in zip(
            photos, masks or [None] * len(photos), strict=True)]
