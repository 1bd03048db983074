r"""The VAE the straightforward way, to compare against.

Chunk by chunk as the official code goes: every border padded by a copy, the
first frame's zeros convolved like any others, upsampling in float32, the
default memory layout, and the output grown by joining. It shares the weights
of a `WanVAE_`.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from wan.modules.vae import CausalConv3d, Resample, ResidualBlock, RMS_norm


def encode(model, x):
    r"""What `WanVAE_.encode` returns with scale [0, 1]."""
    out, state = None, {}
    for i in range(1 + (x.shape[2] - 1) // 4):
        chunk = x[:, :, max(0, 4 * i - 3):4 * i + 1]
        y = run(model.encoder, chunk, state)
        out = y if out is None else torch.cat([out, y], 2)
    return model.conv1(out).chunk(2, dim=1)[0]


def decode(model, z):
    r"""What `WanVAE_.decode` returns with scale [0, 1]."""
    out, state, z = None, {}, model.conv2(z)
    for i in range(z.shape[2]):
        y = run(model.decoder, z[:, :, i:i + 1], state)
        out = y if out is None else torch.cat([out, y], 2)
    return out


def run(layer, x, state):
    r"""Any layer of the network on one chunk."""
    if isinstance(layer, CausalConv3d):
        return conv(layer, x, state)
    if isinstance(layer, ResidualBlock):
        h = layer.shortcut(x)
        for part in layer.residual:
            x = run(part, x, state)
        return x + h
    if isinstance(layer, Resample):
        return resample(layer, x, state)
    if isinstance(layer, RMS_norm):
        return F.normalize(x, dim=1) * layer.scale * layer.gamma
    if isinstance(layer, nn.SiLU):
        return F.silu(x)
    if hasattr(layer, 'middle') or isinstance(layer, nn.Sequential):
        for part in layer.children():
            x = run(part, x, state)
        return x
    return layer(x)


def conv(layer, x, state):
    r"""A causal convolution after the last two frames of the past."""
    if layer.kernel_size[0] == 1:
        return layer(x)
    past = state.get(layer)
    if past is None:
        past = torch.zeros_like(x[:, :, :1]).repeat(1, 1, 2, 1, 1)
    x = torch.cat([past, x], dim=2)
    state[layer] = x[:, :, -2:].clone()
    height, width = layer.padding[1:]
    x = F.pad(x, (width, width, height, height, 0, 0))
    return F.conv3d(x, layer.weight, layer.bias, layer.stride)


def resample(layer, x, state):
    r"""Space always; time from the second chunk on."""
    first = layer not in state
    if layer.mode == 'upsample3d':
        if not first:
            x = conv(layer.time_conv, x, state)
            x = torch.stack(x.chunk(2, dim=1), dim=3).flatten(2, 3)
        state[layer] = True
    frames = x.shape[2]
    x = x.transpose(1, 2).flatten(0, 1)
    change, mix = layer.resample
    x = mix(change(x.float()).type_as(x))
    x = x.unflatten(0, (-1, frames)).transpose(1, 2)
    if layer.mode == 'downsample3d':
        last, state[layer] = state.get(layer), x[:, :, -1:].clone()
        if not first:
            x = layer.time_conv(torch.cat([last, x], dim=2))
    return x
