r"""Edits and samplings by several processes: what they run, and how set."""
from dataclasses import replace

import torch

from tests.distributed.cases import draw, share_of, twelve_heads
from wan.conditioning import Condition
from wan.configs import WAN_CONFIGS
from wan.distributed.branches import spread_branches
from wan.distributed.fsdp import shard_model
from wan.edit_config import EditConfig
from wan.edit_inputs import NOTHING
from wan.edit_steps import EditSteps, Placed, Scene
from wan.pipeline import Parts
from wan.product.masks import Region
from wan.refdrop.config import RefConfig
from wan.refdrop.photos import Photos
from wan.runtime import Runtime
from wan.samplers import denoise, make_scheduler
from wan.sparse import Sparse, SparseConfig
from wan.utils.progress import Progress
from wan.velocity import Denoiser, classifier_free, velocity
from wan.windows import cut

# (frames, rows, columns) of latents with 16 tokens, and with 45, which no mesh
# divides.
SMALL, ODD = (2, 4, 8), (3, 6, 10)
# With 5 tokens, so that one of four processes has none.
TINY = (1, 2, 10)
# Every setting of the reference that is read token by token.
SETTINGS = {
    'default': {},
    'everywhere': {'ref_query_mask': False, 'ref_key_mask': False},
    'split': {'ref_branches': 'split', 'ref_steps': '0-0.7'},
    'all': {'ref_branches': 'all', 'ref_layers': '1'},
    'spatial': {'ref_rope': 'spatial'},
    'none': {'ref_rope': 'none', 'ref_query_mask': False},
    'offset': {'ref_rope': 'offset'},
    'box': {'ref_rope': 'box'},
    'box everywhere': {'ref_rope': 'box', 'ref_query_mask': False},
    'levels': {'ref_t': '0.3,0.6', 'ref_noised': True},
    'match': {'ref_t': 'match'},
    'norm': {'ref_stats': 'norm'},
    'full': {'ref_stats': 'full'},
    'full everywhere': {'ref_stats': 'full', 'ref_query_mask': False},
    'two photos': {'ref_c': (.3, -.2)},
    'tail': {'ref_rope': 'tail', 'ref_c': (.3, .2)},
    'joint': {'ref_gate': 'joint'},
    'joint everywhere': {'ref_gate': 'joint', 'ref_query_mask': False},
    'joint, two photos': {'ref_gate': 'joint', 'ref_c': (.3, .3)},
}


class Shared(EditSteps):
    r"""The steps of an edit in one of several processes."""

    groups = share = None

    @property
    def denoiser(self):
        alone = super().denoiser
        return Denoiser(alone.model, alone.num_train_timesteps, alone.attend,
                        share=self.share)

    def velocity(self, *arguments):
        v = super().velocity(*arguments)
        return v if self.groups is None else \
            spread_branches(v, self.groups.branch)


def steps_of(groups, fsdp=False):
    r"""An edit's steps with a network of 12 heads, and no other network."""
    model = twelve_heads()
    pipe = Shared.of(
        Parts(model, None, None), WAN_CONFIGS['t2v-tiny'],
        Runtime(device='cpu', dtype='float32'))
    if groups is not None:
        pipe.groups, pipe.share = groups, share_of(groups)
    if fsdp:
        shard_model(model, groups.weights)
    return pipe


def scene(shape):
    frames, height, width = shape
    return Scene(
        draw(3, 4 * frames - 3, 8 * height, 8 * width, seed=9).clamp(-1, 1),
        draw(4, *shape, seed=1),
        {name: draw(5, 12, seed=2 + i)
         for i, name in enumerate(('source', 'target', 'null'))},
        {}, seed=7)


def early(shape):
    r"""A region of the first two frames: later tokens read nothing."""
    cells = torch.zeros(shape)
    cells[:2, :4, :6] = 1
    return Region(cells)


def photos(shape, count, noised):
    r"""Photos of which half is product."""
    _, h, w = shape
    mask = (torch.arange(h * w // 4) % 2).bool()
    return Photos(
        tuple(draw(4, 1, h, w, seed=20 + i) for i in range(count)),
        (mask,) * count, 7 if noised else None, inputs=(NOTHING,) * count)


def edited(
        pipe, shape, ref=None, words=None, find=False, lead=None,
        window=None, sparse=False, **options):
    r"""The latent after every step."""
    seen, told = scene(shape), []
    edit = EditConfig(**{
        'sample_steps': 3, 'sample_guide_scale': 3., **options}
    ).resolved(pipe.config)
    progress = Progress(lambda step: told.append(step.latent))
    conditions = pipe.conditions(seen)
    placed, slots = Placed(early(shape)), None
    windows = cut(shape[0], window or shape[0], 1 if window else 0)
    if find:
        mask = pipe.find(
            replace(seen, words=words or {}), conditions, progress,
            windows=windows)
        placed = pipe.place(seen, mask, edit, (), progress)
    if ref is not None:
        ref = RefConfig(**{'ref_c': (.5,), **ref})
        slots = pipe.remember(
            seen, photos(shape, len(ref.ref_c), ref.ref_noised), conditions,
            edit, ref, placed.region, progress, lead)
    v = pipe.velocity(conditions.of_branches(edit.edit_method), slots,
                      edit.batch_branches, lead, seen.seed, windows,
                      Sparse(SparseConfig('share').inside(
                          placed.region, pipe.patch_size), edit)
                      if sparse else None)
    pipe.edit(seen, v, edit, progress, placed,
              ref_guide_scale=None if ref is None else ref.own_guidance)
    return torch.stack([x for x in told if x is not None])


# With and without a photo; where the region is found; methods; batches;
# windows.
EDITS = [
    {},
    {'edit_method': 'flowedit'},
    {'ref': {}},
    {'ref': {}, 'find': True},
    {'ref': {}, 'find': True, 'words': {'source': [1, 2], 'target': [3]}},
    {'ref': {'ref_stats': 'full'}, 'batch_branches': True},
    {'ref': {'ref_branches': 'split'}, 'edit_method': 'sdedit'},
    {'ref': {'ref_gate': 'joint'}, 'batch_branches': True},
    {'ref': {}, 'find': True, 'window': 2},
    {'ref': {'ref_rope': 'box'}, 'batch_branches': True, 'window': 2},
]


def sampled(groups, fsdp, kind, shape):
    r"""The latent after every step of a sampling with guidance."""
    model, seen = twelve_heads(kind), []
    if fsdp:
        shard_model(model, groups.weights)
    clip_fea, inputs = None, {}
    if kind == 'i2v':
        clip_fea = draw(1, 257, 1280, seed=4)
        inputs = {'y': [draw(8, *shape, seed=5)]}
    denoiser = Denoiser(
        model, share=None if groups is None else share_of(groups))
    v = velocity(denoiser, {
        name: Condition(
            model.project_text([draw(5, 12, seed=2 + i)], clip_fea), inputs)
        for i, name in enumerate(('cond', 'uncond'))})
    if groups is not None:
        v = spread_branches(v, groups.branch)
    denoise(
        classifier_free(v, 3.), draw(4, *shape, seed=1),
        *make_scheduler('unipc', 3, 5., torch.device('cpu')),
        callback=lambda i, n, x: seen.append(x))
    return torch.stack(seen)


def sparse_edits(groups, fsdp=False):
    r"""Of some tokens, with and without a photo."""
    pipe = steps_of(groups, fsdp)
    return [edited(pipe, SMALL, sparse=True, **more)
            for more in ({}, {'ref': {}, 'window': 2})]


def edits(groups, fsdp=False, shapes=(SMALL, ODD)):
    r"""Every edit, of each size."""
    pipe = steps_of(groups, fsdp)
    return [edited(pipe, shape, **edit) for shape in shapes
            for edit in EDITS]


def everything(groups, fsdp=False):
    r"""Name -> latents, of all edits and samplings."""
    made = {}
    for name, shape in ('divisible', SMALL), ('not divisible', ODD):
        made[f'edits, {name}'] = edits(groups, fsdp, (shape,))
        for kind in 't2v', 'i2v':
            made[f'{kind}, {name}'] = [sampled(groups, fsdp, kind, shape)]
    return made


def settings(groups):
    r"""Name -> an edit by a setting of the reference."""
    pipe = steps_of(groups)
    made = {name: edited(pipe, ODD, ref) for name, ref in SETTINGS.items()}
    lead = draw(4, 1, *ODD[1:], seed=30)
    return made | {'lead': edited(pipe, ODD, {}, lead=lead)}
