r"""How good the embedded model is, on seeds that nothing has seen."""
import json
import logging
from pathlib import Path

import torch
from torch import Tensor

from wan.configs import WAN_CONFIGS
from wan.runtime import Runtime
from wan.text2video import WanT2V
from wan.utils.compare import contact_sheet
from wan.utils.metrics import psnr
from wan.utils.progress import progress
from wan.utils.record import atomic_write

from .. import TEST_SEEDS, Clip
from ..depth import DepthClip
from ..judge import Judge, Verdict, agreement
from ..scene import PRODUCT_COLOURS
from .world import WORLDS, World

log = logging.getLogger(__name__)

CLIPS = 64
SHOWN = 8
# Most by which the main colour may change from the first to the last frame,
# as a distance in sRGB; 'red' and 'orange' are 0.42 apart.
DRIFT = 0.1


def measure_quality(
    folder: Path, out: Path, minutes: float | None = None,
    device: str = 'cpu', world: World = WORLDS['flat'], clips: int = CLIPS,
) -> bool:
    r"""Measure VAE and text to video; write quality.json and samples.jpg.

    Args:
        folder: where these go.
        out: the checkpoint folder, the judge beside it.
        minutes: not used.
        clips: held-out captions to sample, each told in full.
    """
    config = WAN_CONFIGS['t2v-tiny']
    pipe, usual = WanT2V(config, out, runtime=Runtime(device=device)), \
        config.defaults
    judge = Judge.load(out.parent / world.judge.name, world.labels)
    rows, found = [], {}
    for seed in progress(TEST_SEEDS[:clips], 'quality'):
        clip = world.sample(seed)
        caption, real = world.full_caption(clip), world.render(clip)
        with torch.no_grad():
            again = pipe.vae.decode(pipe.vae.encode([real.to(pipe.device)]))[0]
        video = pipe.generate(
            caption, (128, 128), usual['frame_num'],
            sampling_steps=usual['sample_steps'],
            guide_scale=usual['sample_guide_scale'], seed=seed,
            offload_model=False).cpu()
        rows.append((caption, video))
        for name, value in (
                ('vae_psnr', psnr(again.cpu(), real)),
                ('judge_on_real_clips', _both(judge.verdicts(real), clip)),
                *readings(judge, video, clip).items()):
            found.setdefault(name, []).append(float(value))
    means = {k: round(sum(v) / len(v), 4) for k, v in found.items()}
    means['vae_psnr_worst'] = round(min(found['vae_psnr']), 2)
    log.info('%s', json.dumps(means, indent=2))
    with atomic_write(folder / 'quality.json') as temporary:
        temporary.write_text(json.dumps(
            {'clips': clips, **means}, indent=2) + '\n')
    with atomic_write(folder / 'samples.jpg') as temporary:
        contact_sheet(rows[:SHOWN], 6).save(temporary, quality=90)
    return True


def readings(
    judge: Judge, video: Tensor, clip: Clip | DepthClip
) -> dict[str, bool]:
    r"""What the judge reads in a sample as its caption tells it."""
    whole = agreement(judge.verdicts(video), clip)
    first, last = (judge.verdicts(part)
                   for part in (video[:, :1], video[:, -1:]))
    same = (first.shape, first.colour) == (last.shape, last.colour)
    drift = (mean_colour(video[:, 0], first.colour) -
             mean_colour(video[:, -1], first.colour)).norm()
    return {
        'shape': whole['shape'], 'colour': whole['colour'],
        'product': whole['shape'] and whole['colour'],
        'pattern': whole['pattern'],
        'background': whole['surface'] and whole['surface_colour'],
        'same_first_and_last': same and bool(drift < DRIFT),
    }


def mean_colour(frame: Tensor, name: str) -> Tensor:
    r"""Mean sRGB [3] of the pixels of [3, H, W] that a palette colour names.

    Those are the pixels nearer to it than to the palette's other colours, and
    not far from it; black if there are none.
    """
    pixels = (frame.flatten(1).T + 1) / 2
    palette = torch.tensor(list(PRODUCT_COLOURS.values()))
    distances = torch.cdist(pixels, palette)
    wanted = list(PRODUCT_COLOURS).index(name)
    chosen = (distances.argmin(1) == wanted) & (distances[:, wanted] < 0.3)
    return pixels[chosen].mean(0) if chosen.any() else torch.zeros(3)


def _both(verdict: Verdict, clip: Clip | DepthClip) -> bool:
    reads = agreement(verdict, clip)
    return reads['shape'] and reads['colour']
