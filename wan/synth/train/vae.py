r"""The embedded VAE: Wan's, narrow, trained on the procedural clips."""
import json
import logging
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from wan.configs import WAN_CONFIGS
from wan.modules.vae import WanVAE_
from wan.modules.vae_layers import CausalConv3d, channels_last
from wan.training.loop import Schedule, fit
from wan.utils.compare import contact_sheet
from wan.utils.metrics import psnr
from wan.utils.record import atomic_write

from .. import TRAIN_SEEDS, TUNE_SEEDS
from .world import WORLDS, World

log = logging.getLogger(__name__)

SIZES = {
    'dim': 16, 'z_dim': 16, 'dim_mult': [1, 2, 4, 4], 'num_res_blocks': 1,
    'temperal_downsample': [False, True, True],
}
SCHEDULE = Schedule(steps=14000, rate=1e-3, decay=0.6, average=0.998)
# From weights that are there, those of another world too.
FURTHER = Schedule(steps=2500, rate=1e-3, decay=0.7, average=0.995)
# Of the decoder alone: it is what lacks most when the encoder has settled.
# That of the flat world was trained for 9000 steps.
DECODER_SCHEDULE = Schedule(steps=5000, rate=7e-4, decay=0.8, average=0.998)
DECODER_NOISE = -7.0  # log of the variance that it learns to bear
VAE_FILE = WAN_CONFIGS['t2v-tiny'].vae_checkpoint
KL_WEIGHT = 1e-4
# Frames and side of the crops of a step, and how many: about the same work.
# Images first, as Wan's VAE was; then short crops for variety, and long ones
# because the last frames of a clip come back worst.
IMAGES = (1, 64, 16)
IMAGE_STEPS = 1200
CROPS = (IMAGES, (17, 64, 1), (5, 64, 4), (17, 64, 1), (17, 64, 1))
STATISTICS_CLIPS = 128


def batch(
    step: int, images: bool = False, world: World = WORLDS['flat']
) -> Tensor:
    r"""Crops [B, 3, T, S, S] in [-1, 1] of the step's own clips.

    Args:
        images: whether they must be images.
    """
    frames, side, count = IMAGES if images else CROPS[step % len(CROPS)]
    rng, crops = Random(f'vae {step}'), []
    for i in range((count + 1) // 2):
        if frames == 1 and i == 0:  # as pvtt sees product photos
            clip = world.photo_pixels(world.photo(rng))
        else:
            clip = world.render(world.sample(
                TRAIN_SEEDS[step * 8 + i], frames=17 if frames > 1 else 1))
        for _ in range(min(2, count)):
            t = rng.randint(0, clip.size(1) - frames)
            # Mostly near the middle, where the product is.
            y, x = (round(rng.triangular(0, clip.size(2) - side))
                    for _ in range(2))
            crops.append(clip[:, t:t + frames, y:y + side, x:x + side])
    return torch.stack(crops)


def train_vae(
    folder: Path, out: Path, minutes: float | None = None,
    device: str = 'cpu', world: World = WORLDS['flat'],
    schedule: Schedule | None = None,
) -> bool:
    r"""Train the VAE; at the end write it, with its latents' mean and std.

    Starts from the VAE in `out` if it has one and `folder` no training state.

    Args:
        folder: of the training state, log and sheets.
        out: the checkpoint folder.
        minutes: stop after so long, to be resumed.
        schedule: `SCHEDULE`, or `FURTHER` from weights in `out`.

    Returns:
        Whether training has ended.
    """
    network, going_on = _network(out, device)
    schedule = schedule or (FURTHER if going_on else SCHEDULE)

    def posterior(x):
        mu, log_var = network.conv1(network.encoder(x)).float().chunk(2, 1)
        return mu, log_var.clamp(-20, 10)

    def crops(step):
        # Other clips than those the weights come from.
        return batch(step + 1_000_000, world=world) if going_on else batch(
            step, step < IMAGE_STEPS, world)

    if _fit(network, posterior, crops, folder, minutes, device, schedule,
            world):
        export(network, out / VAE_FILE)
        write_statistics(network, out / VAE_FILE, device, world)
        return True
    return False


def train_decoder(
    folder: Path, out: Path, minutes: float | None = None,
    device: str = 'cpu', world: World = WORLDS['flat'],
    schedule: Schedule = DECODER_SCHEDULE,
) -> bool:
    r"""Train the VAE's decoder alone, its latents staying what they are.

    So it can go on while, and after, the transformer learns those latents.
    Arguments and result as of `train_vae`; written on every stop.
    """
    network, _ = _network(out, device)
    for part in (network.encoder, network.conv1):
        part.requires_grad_(False)

    def posterior(x):
        with torch.no_grad():
            mu = network.conv1(network.encoder(x)).float().chunk(2, 1)[0]
        return mu, torch.full_like(mu, DECODER_NOISE)

    done = _fit(
        network, posterior, lambda step: batch(step + 2_000_000, world=world),
        folder, minutes, device, schedule, world)
    export(network, out / VAE_FILE)
    return done


def _network(out: Path, device: str) -> tuple[WanVAE_, bool]:
    r"""The VAE in a checkpoint folder, or a new one, and whether it is old."""
    network, path = new_network(), out / VAE_FILE
    if path.is_file():
        log.info('Starting from %s.', path)
        network.load_state_dict(torch.load(path, weights_only=True))
    return network.to(device), path.is_file()


def _fit(
    network, posterior, crops, folder, minutes, device, schedule, world
) -> bool:
    r"""Descend the error of crops drawn from their `posterior` and decoded."""

    def loss(step):
        x = crops(step).to(device, torch.bfloat16)
        x = x.to(memory_format=torch.channels_last_3d)
        generator = torch.Generator(device).manual_seed(step)
        with torch.autocast(device, torch.bfloat16):
            mu, log_var = posterior(x)
            noise = torch.randn(mu.shape, generator=generator, device=device)
            z = mu + noise * (0.5 * log_var).exp()
            y = network.decoder(network.conv2(z.to(x)))
        error = y.float() - x.float()
        square = error.square().mean()
        kl = 0.5 * (mu.square() + log_var.exp() - 1 - log_var).mean()
        return error.abs().mean() + 20 * square + KL_WEIGHT * kl, {
            'psnr': 10 * (4 / square.detach()).log10(), 'kl': kl.detach()}

    def show(step, _):
        sheet(network, device, world).save(folder / f'sheet-{step:05d}.png')

    return fit(network, loss, schedule, folder, minutes, show)


def new_network() -> WanVAE_:
    r"""Starts as an image VAE: the past has no weight, the noise is small."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = channels_last(WanVAE_(**SIZES))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, CausalConv3d) and module.lookback:
                module.weight[:, :, :-1] = 0
        network.conv1.bias[network.z_dim:] = -6
    return network


@torch.no_grad()
def round_trip(network: WanVAE_, video: Tensor) -> Tensor:
    r"""[B, 3, T, H, W] through encoder and decoder."""
    with torch.autocast(video.device.type, torch.bfloat16):
        x = video.to(torch.bfloat16)
        mu = network.conv1(network.encoder(x)).chunk(2, 1)[0]
        return network.decoder(network.conv2(mu)).float()


def sheet(network: WanVAE_, device: str, world: World):
    r"""Held-out clips above what comes back."""
    rows = []
    for seed in TUNE_SEEDS[:4]:
        clip = world.render(world.sample(seed))
        again = round_trip(network, clip[None].to(device))[0].cpu()
        rows += [(f'{seed}', clip),
                 (f'back, {psnr(again, clip):.1f} dB', again)]
    return contact_sheet(rows, 6)


def export(network: WanVAE_, path: Path) -> None:
    r"""Write the weights in bfloat16."""
    weights = {k: v.to('cpu', torch.bfloat16).contiguous()
               for k, v in network.state_dict().items()}
    with atomic_write(path) as temporary:
        torch.save(weights, temporary)
    log.info('Wrote %s', path)


@torch.no_grad()
def write_statistics(
    network: WanVAE_, path: Path, device: str, world: World
) -> None:
    r"""Write, beside the weights, sizes and the latents' mean and std."""
    latents = []
    for seed in TRAIN_SEEDS[:STATISTICS_CLIPS]:
        x = world.render(world.sample(seed))[None].to(
            device, torch.bfloat16)
        with torch.autocast(device, torch.bfloat16):
            mu = network.conv1(network.encoder(x)).chunk(2, 1)[0]
        latents.append(mu.float().cpu())
    latents = torch.cat(latents).transpose(0, 1).flatten(1)
    sizes = SIZES | {
        name: [round(float(v), 4) for v in values] for name, values in (
            ('mean', latents.mean(1)), ('std', latents.std(1)))}
    with atomic_write(path.with_suffix('.json')) as temporary:
        temporary.write_text(json.dumps(sizes, indent=2) + '\n')
