r"""The transformer's forward the straightforward way, to compare against.

It follows the model's description step by step and remembers nothing: every
layer makes the rotation of every sample anew in double precision, every call
projects the text again, samples are embedded one by one, padded and joined.
It shares the weights of a `WanModel` of type t2v and its choice of precision.
"""
import math

import torch
import torch.nn.functional as F

from wan.modules.model import sinusoidal_embedding_1d


def forward(model, x, t, context, seq_len, attend):
    r"""What `WanModel.forward` returns."""
    samples, grids = [], []
    for u in x:
        u = model.patch_embedding(
            u[None].to(model.patch_embedding.weight.dtype))
        grids.append(u.shape[2:])
        u = u.flatten(2).transpose(1, 2)
        samples.append(torch.cat(
            [u, u.new_zeros(1, seq_len - u.size(1), u.size(2))], dim=1))
    x = torch.cat(samples)
    lengths = torch.tensor([math.prod(grid) for grid in grids])

    wave = sinusoidal_embedding_1d(model.freq_dim, t).float()
    e = model.time_embedding(wave)
    e0 = model.time_projection(e).unflatten(1, (6, model.dim))
    padded = torch.stack([
        torch.cat([u, u.new_zeros(model.text_len - u.size(0), u.size(1))])
        for u in context])
    text = model.text_embedding(padded.to(model.text_embedding[0].weight))

    for block in model.blocks:
        x = run_block(
            block, x, e0, text, lengths, grids, model.freqs, attend)

    shift, scale = (
        model.head.modulation + e.unsqueeze(1)).chunk(2, dim=1)
    x = model.head.head(
        layer_norm(x, model.head.norm) * (1 + scale) + shift)
    return [unpatchify(u, grid, model.patch_size)
            for u, grid in zip(x, grids, strict=True)]


def run_block(block, x, e0, text, lengths, grids, freqs, attend):
    shift1, scale1, gate1, shift2, scale2, gate2 = (
        block.modulation + e0).chunk(6, dim=1)

    y = layer_norm(x, block.norm1).float() * (1 + scale1) + shift1
    q, k, v = project(block.self_attn, y, y)
    y = attend(
        rope(q, grids, freqs).to(v.dtype), rope(k, grids, freqs).to(v.dtype),
        v, k_lens=lengths)
    x = x + block.self_attn.o(y.flatten(2)).float() * gate1

    q, k, v = project(block.cross_attn, layer_norm(x, block.norm3), text)
    y = attend(q.to(v.dtype), k.to(v.dtype), v)
    x = x + block.cross_attn.o(y.flatten(2))

    y = layer_norm(x, block.norm2).float() * (1 + scale2) + shift2
    y = F.gelu(block.ffn[0](y.to(block.ffn[0].weight.dtype)),
               approximate='tanh')
    y = block.ffn[2](y)
    return x + y.float() * gate2


def project(attn, x, context):
    dtype = attn.q.weight.dtype
    x, context = x.to(dtype), context.to(dtype)
    q = rms_norm(attn.q(x), attn.norm_q)
    k = rms_norm(attn.k(context), attn.norm_k)
    v = attn.v(context)
    return [u.unflatten(2, (attn.num_heads, attn.head_dim))
            for u in (q, k, v)]


def layer_norm(x, norm):
    return F.layer_norm(
        x.float(), norm.normalized_shape, norm.weight, norm.bias,
        norm.eps).type_as(x)


def rms_norm(x, norm):
    u = x.float()
    u = u * torch.rsqrt(u.pow(2).mean(dim=-1, keepdim=True) + norm.eps)
    return u.type_as(x) * norm.weight


def rope(x, grids, freqs):
    half = freqs.size(1)
    tables = freqs.split(
        [half - 2 * (half // 3), half // 3, half // 3], dim=1)
    out = []
    for sample, (f, h, w) in zip(x, grids, strict=True):
        n = f * h * w
        turns = torch.cat([
            tables[0][:f].view(f, 1, 1, -1).expand(f, h, w, -1),
            tables[1][:h].view(1, h, 1, -1).expand(f, h, w, -1),
            tables[2][:w].view(1, 1, w, -1).expand(f, h, w, -1),
        ], dim=-1).reshape(n, 1, -1).to(x.device)
        pairs = torch.view_as_complex(
            sample[:n].double().unflatten(-1, (-1, 2)))
        turned = torch.view_as_real(pairs * turns).flatten(2)
        out.append(torch.cat([turned, sample[n:].double()]))
    return torch.stack(out).float()


def unpatchify(x, grid, patch_size):
    f, h, w = grid
    x = x[:f * h * w].view(f, h, w, *patch_size, -1)
    x = x.permute(6, 0, 3, 1, 4, 2, 5)
    return x.reshape(
        x.size(0), *(n * p for n, p in zip(grid, patch_size, strict=True)))
