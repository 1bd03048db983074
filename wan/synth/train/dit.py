r"""The embedded transformer and text encoder, trained by flow matching.

As in Wan (arXiv 2503.20314): x_sigma = (1 - sigma) z + sigma eps, the target
is eps - z, noise levels are shifted, images come before and among the videos,
and captions are left out at times for guidance. No reference is ever given:
whatever reads one later does so without training.

The outlines of products are slow to be learned. So half of the blocks are also
asked what the noisy tokens will show: which share of each of their cells has
the product's first, second and third colour. It is the idea of representation
alignment (REPA, 2410.06940) with the renderer's own knowledge as the
representation; the layers that answer are not kept. And the loss counts more
where the product is, as that is what samples fail in.
"""
import json
import logging
from functools import partial
from pathlib import Path
from random import Random

import torch
import torch.nn as nn
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor

from wan.conditioning import Condition
from wan.modules.attention import attention
from wan.modules.model import WanModel
from wan.modules.t5 import T5Encoder
from wan.modules.vae import WanVAE
from wan.samplers import flow_sigmas, guided
from wan.training.loop import Schedule, fit
from wan.utils.checkpoint import find_weights
from wan.utils.compare import contact_sheet
from wan.utils.record import atomic_write
from wan.velocity import Denoiser

from .. import TUNE_SEEDS
from . import text
from .latents import CELLS, NAMES, Latents
from .world import WORLDS, World

log = logging.getLogger(__name__)

CONFIG = text.CONFIG
SIZES = {
    'model_type': 't2v', 'text_len': CONFIG.text_len, 'in_dim': 16,
    'out_dim': 16, 'dim': CONFIG.dim, 'ffn_dim': CONFIG.ffn_dim,
    'freq_dim': CONFIG.freq_dim, 'text_dim': text.SIZES['dim'],
    'num_heads': CONFIG.num_heads, 'num_layers': CONFIG.num_layers,
}
SCHEDULE = Schedule(
    steps=2400, rate=1.5e-3, warmup=100, decay=0.8, average=0.998)
# In depth, from the weights of the flat world.
DEPTH_SCHEDULE = Schedule(
    steps=4500, rate=1.2e-3, warmup=100, decay=0.8, average=0.998)
SHIFT = 3.0
# Of every other level's logit before the shift: most come to lie between 0.4
# and 0.8, where samples lose their outlines.
LEVELS = (-0.4, 0.8)
CAPTION_DROPOUT = 0.1
VIDEOS, IMAGES = 16, 80  # in a batch: the same number of tokens
# Share of the steps that see images: all at first, as an image costs a fifth
# of a clip, then fewer, and this many from `SETTLED` of the schedule on.
IMAGE_SHARE, SETTLED = 0.25, 0.1
LAYOUT, LAYOUT_WEIGHT = 3 * CELLS**2, 2.0
# How much more the loss counts in the product, at most: below noise of 0.7.
# From 0.9 on x does not tell where it is, and counting more there would teach
# to paint it everywhere.
FOCUS = 4.0
# Neighbouring tokens teach much the same, other clips do not: until `WHOLE` of
# the schedule each sample shows `KEPT` of its tokens, and there are more
# samples. The rest learns to work on all tokens.
KEPT, WHOLE = 0.5, 0.5
WEIGHTS = 'diffusion_pytorch_model.safetensors'


class TextToVideo(nn.Module):
    r"""Transformer and text encoder, trained together."""

    def __init__(
        self, backend: str = 'auto', world: World = WORLDS['flat']
    ):
        super().__init__()
        self.attend = partial(attention, backend=backend)
        self.encoder = T5Encoder(**text.sizes(world), dropout=0.)
        self.transformer = WanModel(**SIZES)
        dim = SIZES['dim']
        self.layout = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim), nn.SiLU(),
            nn.Linear(dim, LAYOUT))
        self.middle: Tensor | None = None
        blocks = self.transformer.blocks
        blocks[len(blocks) // 2 - 1].register_forward_hook(self._keep)

    def _keep(self, block, inputs, output):
        self.middle = output

    def forward(
        self, x: Tensor, sigma: Tensor, ids: Tensor, mask: Tensor
    ) -> Tensor:
        r"""Velocities of x [B, C, T, h, w] at sigma [B], text as ids [B, L]."""
        denoiser = Denoiser(self.transformer, attend=self.attend)
        return torch.stack(denoiser(
            list(x), denoiser.timestep(sigma),
            Condition(tuple(self._texts(ids, mask)))))

    def of_tokens(
        self, x: Tensor, sigma: Tensor, ids: Tensor, mask: Tensor, kept: Tensor
    ) -> Tensor:
        r"""Velocities [B, K, 4, C] of some tokens of x, the rest left out.

        Args:
            kept: [B, K], which tokens.
        """
        model = self.transformer
        tokens = model.embed(
            list(x), 1000 * sigma, x[0, 0].numel() // 4)
        some = tokens._replace(
            x=chosen(tokens.x, kept), rotation=tokens.rotation[0][kept])
        out = model.run_blocks(
            some, model.embed_context(self._texts(ids, mask)),
            attend=self.attend)
        return model.head(out, tokens.e).unflatten(-1, (4, -1))

    def _texts(self, ids, mask):
        context = self.encoder(ids, mask)
        return [u[:n] for u, n in zip(
            context, mask.sum(1).tolist(), strict=True)]

    def layouts(self) -> Tensor:
        r"""Logits [B, tokens, 48] of what the last forward's tokens show."""
        return self.layout(self.middle)


def noise_levels(count: int, generator: torch.Generator) -> Tensor:
    r"""[count] in (0, 1), moved toward noise by Wan's shift.

    Before the shift every other one is uniform, stratified, and the rest are
    logit-normal (2403.03206) by `LEVELS`.
    """
    u = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    mean, deviation = LEVELS
    u[1::2] = torch.sigmoid(
        mean + deviation * torch.randn(count // 2, generator=generator))
    return SHIFT * u / (1 + (SHIFT - 1) * u)


def focus(layouts: Tensor, sigma: Tensor) -> Tensor:
    r"""Weights of the loss, [B, L, 4, 1] for layouts [B, L, 48]."""
    cells = rearrange(
        layouts, 'b l (i a j c k) -> b l (i j) (a c k)',
        i=2, j=2, a=CELLS // 2, k=3)
    there = (cells.amax(-1, keepdim=True) > 0).float()
    rise = ((0.9 - sigma) / 0.2).clamp(0, 1).view(-1, 1, 1, 1)
    return 1 + (FOCUS - 1) * rise * there


def patches(x: Tensor) -> Tensor:
    r"""[B, C, T, h, w] as the transformer's tokens [B, L, 4, C]."""
    return rearrange(x, 'b c t (h i) (w j) -> b (t h w) (i j) c', i=2, j=2)


def chosen(tokens: Tensor, kept: Tensor) -> Tensor:
    r"""Some of the tokens [B, L, ...], those of `kept` [B, K]."""
    return tokens[torch.arange(len(kept), device=kept.device)[:, None], kept]


def some_tokens(
    count: int, tokens: int, share: float, generator: torch.Generator
) -> Tensor:
    r"""[count, share * tokens] numbers of tokens, in order, other ones each."""
    order = torch.rand(count, tokens, generator=generator).argsort(1)
    return order[:, :round(share * tokens)].sort(1).values


def train_dit(
    folder: Path, out: Path, minutes: float | None = None,
    device: str = 'cpu', world: World = WORLDS['flat'],
    schedule: Schedule | None = None,
) -> bool:
    r"""Train transformer and text encoder; write them on every stop.

    Starts from the checkpoint in `out` if it has one of these sizes and
    `folder` has no training state.

    Args:
        folder: of the training state, log and sheets; the latents are beside.
        out: the checkpoint folder, which has the VAE.
        minutes: stop after so long, to be resumed.
        schedule: None takes the world's.

    Returns:
        Whether training has ended.
    """
    schedule = schedule or (
        DEPTH_SCHEDULE if world is WORLDS['depth'] else SCHEDULE)
    data = {name: Latents(folder.parent / 'latents', name, world)
            for name in NAMES}
    # On a CPU SDPA's backward is slow.
    network = new_network(
        out, 'matmul' if device == 'cpu' else 'auto', world).to(device)
    # That in `out` belongs to the weights there until new ones are written.
    tokenizer = text.write_tokenizer(folder, world)
    # Clips and images, whole and in part, and the sheets are each worth their
    # own kernels; past the limit torch would leave blocks uncompiled.
    torch._dynamo.config.recompile_limit = 32
    for block in network.transformer.blocks:  # hooks stay outside
        block.forward = torch.compile(block.forward, dynamic=False)

    def loss(step):
        rng = Random(f'dit {step}')
        generator = torch.Generator().manual_seed(step)
        progress = step / schedule.steps
        share = KEPT if progress < WHOLE else 1.0
        z, layouts, captions = _batch(data, progress, share, rng)
        kept = some_tokens(len(z), layouts.size(1), share, generator)
        captions = ['' if rng.random() < CAPTION_DROPOUT else c
                    for c in captions]
        ids, mask = tokenizer(
            captions, return_mask=True, add_special_tokens=True)
        sigma = noise_levels(len(z), generator)
        eps = torch.randn(z.shape, generator=generator)
        level = sigma.view(-1, 1, 1, 1, 1)
        x, v = (1 - level) * z + level * eps, chosen(patches(eps - z), kept)
        layouts = chosen(layouts, kept)
        with torch.autocast(device, torch.bfloat16):
            predicted = network.of_tokens(
                *(u.to(device) for u in (x, sigma, ids, mask, kept)))
            logits = network.layouts()
        errors = (predicted - v.to(device)).square()
        flow = (focus(layouts, sigma).to(device) * errors).mean()
        layout = F.binary_cross_entropy_with_logits(
            logits.float(), layouts.to(device))
        return flow + LAYOUT_WEIGHT * layout, {
            'flow': errors.detach().mean(), 'layout': layout.detach()}

    vae = WanVAE(vae_pth=find_weights(out / CONFIG.vae_checkpoint),
                 dtype=torch.bfloat16, device=device)

    def show(step, _):
        sheet(network, tokenizer, vae, device, world).save(
            folder / f'sheet-{step:05d}.png')

    done = fit(network, loss, schedule, folder, minutes, show)
    export(network, out, world)
    return done


def image_share(progress: float) -> float:
    r"""Probability that a step sees images, `progress` of the way in [0, 1]."""
    return max(IMAGE_SHARE, 1 - (1 - IMAGE_SHARE) * progress / SETTLED)


def _batch(data, progress, share, rng) -> tuple[Tensor, Tensor, list[str]]:
    r"""As many samples as have VIDEOS clips' tokens if `share` are kept."""
    if rng.random() >= image_share(progress):
        return data['video'].batch(round(VIDEOS / share), rng)
    images = round(IMAGES / share)
    photos = images // 4
    parts = (data['image'].batch(images - photos, rng),
             data['photo'].batch(photos, rng))
    latents, layouts, captions = zip(*parts, strict=True)
    return torch.cat(latents), torch.cat(layouts), sum(captions, [])


def new_network(
    out: Path, backend: str = 'auto', world: World = WORLDS['flat']
) -> TextToVideo:
    r"""With the weights in `out`, or the ones training starts from.

    Weights of another world can be in `out`: the words that both know keep
    what they mean.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TextToVideo(backend, world)
    if (out / WEIGHTS).is_file():
        log.info('Starting from the weights in %s.', out)
        network.transformer.load_state_dict(load_file(out / WEIGHTS))
        weights = torch.load(out / CONFIG.t5_checkpoint, weights_only=True)
        known = text.read_vocabulary(out)
        words = network.encoder.token_embedding.weight.detach().clone()
        for word, place in text.vocabulary(world).items():
            if word in known:
                words[place] = weights['token_embedding.weight'][known[word]]
        network.encoder.load_state_dict(
            weights | {'token_embedding.weight': words})
    return network


def export(
    network: TextToVideo, out: Path, world: World = WORLDS['flat']
) -> None:
    r"""Write both networks in bfloat16, under the official names."""
    text.write_tokenizer(out, world)
    text.write_encoder(out, network.encoder, world)
    with atomic_write(out / WEIGHTS) as temporary:
        save_file({k: v.to('cpu', torch.bfloat16).contiguous()
                   for k, v in network.transformer.state_dict().items()},
                  temporary)
    with atomic_write(out / 'config.json') as temporary:
        temporary.write_text(json.dumps(
            {'_class_name': 'WanModel', 'wan_config': 't2v-tiny', **SIZES},
            indent=2) + '\n')
    log.info('Wrote %s', out)


@torch.no_grad()
def sheet(network, tokenizer, vae, device, world, count=8, steps=20):
    r"""Samples of held-out full captions, by Euler steps with guidance 5."""
    captions = [world.full_caption(world.sample(seed))
                for seed in TUNE_SEEDS[:count]]
    ids, mask = (u.to(device) for u in tokenizer(
        captions + [''] * count, return_mask=True, add_special_tokens=True))
    x = torch.randn(count, 16, 5, 16, 16,
                    generator=torch.Generator().manual_seed(0)).to(device)
    sigmas = flow_sigmas(steps, 5.0).tolist()
    for here, there in zip(sigmas, sigmas[1:], strict=False):
        with torch.autocast(device, torch.bfloat16):
            v = network(torch.cat([x, x]), torch.full((2 * count,), here).to(
                device), ids, mask)
        x = x + (there - here) * guided(*v.chunk(2), 5.0)
    return contact_sheet(list(zip(
        captions, vae.decode(list(x.float())), strict=True)), 6)
