r"""Recorded numbers of the reference: weights, inputs, expected outputs."""
import json
from functools import cache

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tools.recorded import DATA, expected_state, table

__all__ = [
    'case',
    'case_ids',
    'expected_state',
    'listed',
    'manifest',
    'relative_error',
    'table',
    'weights',
]

GOLDENS = DATA / 'goldens'


@cache
def manifest() -> dict:
    return json.loads((GOLDENS / 'manifest.json').read_text())


def case_ids(runner: str, model: str | None = None) -> list[str]:
    r"""The recorded cases of a runner, only those on `model` if it is given."""
    return [
        c['id'] for c in manifest()['cases'] if c['runner'] == runner
        and (model is None or model in c.get('models', {}).values())
    ]


def case(case_id: str) -> tuple[dict, dict, dict]:
    r"""(params, inputs, outputs) of a recorded case, in their real dtypes."""
    entry = next(c for c in manifest()['cases'] if c['id'] == case_id)
    with safe_open(GOLDENS / entry['file'], 'pt') as f:
        inputs = {
            k: f.get_tensor(e['key']).to(getattr(torch, e['dtype']))
            for k, e in entry['inputs'].items()
        }
        outputs = {
            k: f.get_tensor(e['key']) for k, e in entry['outputs'].items()
        }
    return entry.get('params', {}), inputs, outputs


def listed(tensors: dict, name: str) -> list[torch.Tensor]:
    r"""The list argument stored as `name.0`, `name.1`, ..."""
    found = [k for k in tensors if k.rpartition('.')[0] == name]
    return [tensors[f'{name}.{i}'] for i in range(len(found))]


def weights(name: str) -> tuple[dict, dict[str, torch.Tensor]]:
    r"""(constructor kwargs, float32 state dict) of a recorded network."""
    entry = manifest()['weights'][name]
    state = {}
    for file in entry['files']:
        state |= {
            k: v.float() for k, v in load_file(GOLDENS / file).items()
        }
    kwargs = {
        k: tuple(v) if k in ('patch_size', 'window_size')
        and isinstance(v, list) else v
        for k, v in entry['kwargs'].items() if not k.startswith('_')
    }
    return kwargs, state


def relative_error(got: torch.Tensor, want: torch.Tensor) -> float:
    r"""Largest absolute difference over the largest expected magnitude."""
    if got.shape != want.shape:
        raise AssertionError(f'shape {got.shape}, expected {want.shape}')
    scale = want.double().abs().max().clamp_min(1e-12)
    return float((got.double() - want.double()).abs().max() / scale)
