r"""Recorded transformers for tests: the network, its arguments, its trace."""
import torch

from tests import goldens
from wan.modules.model import WanModel
from wan.modules.vace_model import VaceWanModel


def load(name, dtype=torch.float32):
    r"""A recorded network; a half `dtype` spares what must stay float32."""
    kwargs, state = goldens.weights(name)
    kind = VaceWanModel if 'vace_layers' in kwargs else WanModel
    model = kind(**kwargs).eval()
    model.load_state_dict(state)
    for key, parameter in model.named_parameters():
        if not set(model._keep_in_fp32_modules) & set(key.split('.')):
            parameter.data = parameter.data.to(dtype)
    return model


def sample(case='dit_t2v_b1'):
    r"""Keyword arguments of a recorded forward."""
    params, inputs, _ = goldens.case(case)
    y = goldens.listed(inputs, 'y')
    control = goldens.listed(inputs, 'vace_context')
    more = {k: v for k, v in params.items() if k == 'vace_context_scale'}
    if control:
        more['vace_context'] = control
    return more | dict(
        x=goldens.listed(inputs, 'x'), t=inputs['t'],
        context=goldens.listed(inputs, 'context'), seq_len=params['seq_len'],
        clip_fea=inputs.get('clip_fea'), y=y or None)


def traced(model, names):
    r"""What the submodules of a trace return, filled in by a forward."""
    seen = {}
    for name in names:
        path = name.replace('block', 'blocks.', 1) \
            if name.startswith(('block', 'vace_block')) else name
        model.get_submodule(path).register_forward_hook(
            lambda m, args, out, name=name: seen.update({name: out}))
    return seen


def small_vace(vace_layers=None, vace_in_dim=6, **kwargs):
    r"""A small random VACE transformer."""
    return VaceWanModel(vace_layers, vace_in_dim, **dict(
        dim=48, ffn_dim=64, freq_dim=32, text_dim=20, text_len=12,
        num_heads=2, num_layers=4) | kwargs).eval()


def small_sample(model):
    r"""Keyword arguments of a forward of `small_vace`."""
    g = torch.Generator().manual_seed(0)
    return dict(
        x=[torch.randn(16, 2, 4, 8, generator=g)], t=torch.tensor([500.]),
        vace_context=[torch.randn(model.vace_in_dim, 2, 4, 8, generator=g)],
        context=[torch.randn(5, 20, generator=g)], seq_len=16)
