r"""Small networks on disk, and refusals in one sentence."""
import random

import pytest
import torch
import torch.nn as nn
from safetensors.torch import save_file

from wan.configs import WAN_CONFIGS

CONFIG = WAN_CONFIGS['t2v-tiny']
VAE, T5 = CONFIG.vae_checkpoint, CONFIG.t5_checkpoint
DIT = 'diffusion_pytorch_model.safetensors'
LFS = (b'version https://git-lfs.github.com/spec/v1\noid sha256:0f3a\n'
       b'size 507609880\n')
PARTS = (VAE, T5, DIT, 'config.json', f'{CONFIG.t5_tokenizer}/tokenizer.json')


class Net(nn.Module):

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.norm = nn.LayerNorm(3)
        self.register_buffer('steps', torch.arange(2))


def net():
    with torch.device('meta'):
        return Net()


def state(**changes):
    return Net().state_dict() | changes


def write(path, tensors):
    (torch.save if path.suffix == '.pth' else save_file)(tensors, path)
    return path


def refused(call, *args):
    r"""The one sentence of a refusal."""
    with pytest.raises(ValueError) as error:
        call(*args)
    said = str(error.value)
    assert said.endswith('.') and '\n' not in said and len(said) < 900
    return said


def mutated(data: bytes, draw: random.Random) -> bytes:
    r"""A file with some bytes changed, cut out, doubled or put in."""
    data = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) + 1)
        # Most that can go wrong is in the head or at the end.
        at = draw.choice((at, at % 900, -at % 900))
        length = draw.choice((1, 2, 8, 64))
        piece = bytes(draw.choices(range(256), k=length))
        data[at:at + draw.choice((0, length))] = draw.choice((
            piece, b'', b'\xff' * length, bytes(data[at:at + length]) * 2))
    return bytes(data[:draw.choice((len(data), draw.randrange(len(data))))])
