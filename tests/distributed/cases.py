r"""What the processes of the tests do; imported once, before they fork."""
import torch

from tests.modules.dit import load, sample, small_vace
from wan.distributed.xdit_context_parallel import SequenceParallel
from wan.modules.model import T5_CONTEXT_TOKEN_NUMBER, WanModel


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def share_of(groups):
    return SequenceParallel(groups) if groups.mesh.sp_size > 1 else None


def twelve_heads(kind='t2v'):
    r"""A network with the heads of the 1.3B model."""
    torch.manual_seed(0)
    model = WanModel(
        kind, text_len=T5_CONTEXT_TOKEN_NUMBER if kind == 'i2v' else 8,
        in_dim=12 if kind == 'i2v' else 4, out_dim=4, dim=96, ffn_dim=64,
        freq_dim=16, text_dim=12, num_heads=12, num_layers=2).eval()
    torch.nn.init.normal_(model.head.head.weight, std=.1)
    return model


def controlled():
    r"""A VACE network whose control counts."""
    torch.manual_seed(0)
    model = small_vace(num_heads=4)
    for name, parameter in model.named_parameters():
        if name.endswith(('_proj.weight', 'head.head.weight')):
            torch.nn.init.normal_(parameter, std=.1)
    return model


def latents(model, grid, batch=1):
    r"""Latents of a grid of tokens."""
    f, h, w = grid
    return [draw(model.config.out_dim, f, 2 * h, 2 * w, seed=i)
            for i in range(batch)]


def arguments(name, grid, batch=1):
    r"""(network, arguments of its forward) for a grid of tokens."""
    if name == 'twelve':
        model = twelve_heads()
        given = dict(context=[draw(5, 12, seed=7)] * batch)
    elif name == 'vace':
        model = controlled()
        given = dict(context=[draw(5, 20, seed=7)] * batch,
                     vace_context_scale=.7)
    else:
        model, recorded = load(name), sample(f'{name}_b1')
        given = dict(context=recorded['context'] * batch)
        if recorded['clip_fea'] is not None:
            given['clip_fea'] = recorded['clip_fea'].repeat(batch, 1, 1)
    x = latents(model, grid, batch)
    if model.needs_image:
        extra = model.in_dim - model.config.out_dim
        given['y'] = [draw(extra, *u.shape[1:], seed=9 + i)
                      for i, u in enumerate(x)]
    if name == 'vace':
        given['vace_context'] = [
            draw(model.vace_in_dim, *u.shape[1:], seed=8) for u in x]
    f, h, w = grid
    return model.requires_grad_(False), dict(
        x=x, t=torch.linspace(500, 900, batch), seq_len=f * h * w, **given)


def forward(groups, name, grid, batch=1):
    model, given = arguments(name, grid, batch)
    return model(**given, share=None if groups is None else share_of(groups))


def forwards(groups, cases):
    return [forward(groups, *case) for case in cases]


def refusals(groups, cases):
    r"""The messages of forwards that are refused."""
    told = []
    for name, grids in cases:
        model, given = arguments(name, grids[0])
        given['x'] = [latents(model, grid)[0] for grid in grids]
        given.update(seq_len=100, t=torch.full((len(grids),), 500.),
                     context=given['context'] * len(grids))
        try:
            model(**given, share=share_of(groups))
        except ValueError as error:
            told.append(str(error))
    return told
