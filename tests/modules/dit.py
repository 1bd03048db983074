r"""Recorded transformers for tests: the network, its arguments, its trace."""
import torch

from tests import goldens
from wan.modules.model import WanModel


def load(name, dtype=torch.float32):
    r"""A recorded network; a half `dtype` spares what must stay float32."""
    kwargs, state = goldens.weights(name)
    model = WanModel(**kwargs).eval()
    model.load_state_dict(state)
    for key, parameter in model.named_parameters():
        if not set(model._keep_in_fp32_modules) & set(key.split('.')):
            parameter.data = parameter.data.to(dtype)
    return model


def sample(case='dit_t2v_b1'):
    r"""Keyword arguments of a recorded forward."""
    params, inputs, _ = goldens.case(case)
    y = goldens.listed(inputs, 'y')
    return dict(
        x=goldens.listed(inputs, 'x'), t=inputs['t'],
        context=goldens.listed(inputs, 'context'), seq_len=params['seq_len'],
        clip_fea=inputs.get('clip_fea'), y=y or None)


def traced(model, names):
    r"""What the submodules of a trace return, filled in by a forward."""
    seen = {}
    for name in names:
        path = name.replace('block', 'blocks.', 1) \
            if name.startswith('block') else name
        model.get_submodule(path).register_forward_hook(
            lambda m, args, out, name=name: seen.update({name: out}))
    return seen
