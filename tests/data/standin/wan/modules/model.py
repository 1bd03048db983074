import math

import torch
import torch.nn as nn
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from .attention import flash_attention


def sinusoidal_embedding_1d(dim, position):
    rates = 10000**(-torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angles = position.double()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def rope_params(max_seq_len, dim, theta=10000):
    rates = theta**(-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angles = torch.arange(max_seq_len)[:, None] * rates
    return torch.polar(torch.ones_like(angles), angles)


def rope_apply(x, grid_sizes, freqs):
    n = x.size(3) // 2
    tables = freqs.split([n - 2 * (n // 3), n // 3, n // 3], dim=1)
    out = x.double()
    for i, (f, h, w) in enumerate(grid_sizes.tolist()):
        places = torch.cartesian_prod(
            torch.arange(f), torch.arange(h), torch.arange(w))
        turn = torch.cat(
            [t[places[:, axis]] for axis, t in enumerate(tables)], dim=1)
        pairs = torch.view_as_complex(
            out[i, :f * h * w].unflatten(-1, (-1, 2)).contiguous())
        out[i, :f * h * w] = torch.view_as_real(
            pairs * turn[:, None]).flatten(-2)
    return out.float()


class WanRMSNorm(nn.Module):

    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        square = x.float().pow(2).mean(-1, keepdim=True)
        return (x.float() / (square + self.eps).sqrt()).type_as(
            x) * self.weight


class WanLayerNorm(nn.LayerNorm):

    def __init__(self, dim, eps=1e-6, elementwise_affine=False):
        super().__init__(dim, eps, elementwise_affine)


class WanSelfAttention(nn.Module):

    def __init__(self,
                 dim,
                 num_heads,
                 window_size=(-1, -1),
                 qk_norm=True,
                 eps=1e-6):
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.q, self.k, self.v, self.o = (
            nn.Linear(dim, dim) for _ in range(4))
        self.norm_q = WanRMSNorm(dim, eps) if qk_norm else nn.Identity()
        self.norm_k = WanRMSNorm(dim, eps) if qk_norm else nn.Identity()

    def forward(self, x, seq_lens, grid_sizes, freqs):
        n = self.num_heads

        # queries, keys and values by head
        def by_head(x):
            return (self.norm_q(self.q(x)).unflatten(2, (n, -1)),
                    self.norm_k(self.k(x)).unflatten(2, (n, -1)),
                    self.v(x).unflatten(2, (n, -1)))

        q, k, v = by_head(x)

        x = flash_attention(
            q=rope_apply(q, grid_sizes, freqs),
            k=rope_apply(k, grid_sizes, freqs),
            v=v,
            k_lens=seq_lens,
            window_size=self.window_size)

        # join the heads
        x = x.flatten(2)
        x = self.o(x)
        return x


class WanT2VCrossAttention(WanSelfAttention):

    def forward(self, x, context, context_lens):
        n = self.num_heads
        q = self.norm_q(self.q(x)).unflatten(2, (n, -1))
        k = self.norm_k(self.k(context)).unflatten(2, (n, -1))
        v = self.v(context).unflatten(2, (n, -1))
        x = flash_attention(q, k, v, k_lens=context_lens)
        return self.o(x.flatten(2))


WAN_CROSSATTENTION_CLASSES = {"t2v_cross_attn": WanT2VCrossAttention}


class WanAttentionBlock(nn.Module):

    def __init__(self,
                 cross_attn_type,
                 dim,
                 ffn_dim,
                 num_heads,
                 window_size=(-1, -1),
                 qk_norm=True,
                 cross_attn_norm=False,
                 eps=1e-6):
        super().__init__()
        self.norm1 = WanLayerNorm(dim, eps)
        self.self_attn = WanSelfAttention(
            dim, num_heads, window_size, qk_norm, eps)
        self.norm3 = WanLayerNorm(
            dim, eps,
            elementwise_affine=True) if cross_attn_norm else nn.Identity()
        self.cross_attn = WAN_CROSSATTENTION_CLASSES[cross_attn_type](
            dim, num_heads, (-1, -1), qk_norm, eps)
        self.norm2 = WanLayerNorm(dim, eps)
        self.ffn = nn.Sequential(
            nn.Linear(dim, ffn_dim), nn.GELU(approximate="tanh"),
            nn.Linear(ffn_dim, dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(
        self,
        x,
        e,
        seq_lens,
        grid_sizes,
        freqs,
        context,
        context_lens,
    ):
        e = (self.modulation + e).chunk(6, dim=1)

        # attend within the video
        y = self.self_attn(
            self.norm1(x).float() * (1 + e[1]) + e[0], seq_lens, grid_sizes,
            freqs)
        x = x + y * e[2]

        x = x + self.cross_attn(self.norm3(x), context, context_lens)
        y = self.ffn(self.norm2(x).float() * (1 + e[4]) + e[3])
        return x + y * e[5]


class Head(nn.Module):

    def __init__(self, dim, out_dim, patch_size, eps=1e-6):
        super().__init__()
        self.norm = WanLayerNorm(dim, eps)
        self.head = nn.Linear(dim, math.prod(patch_size) * out_dim)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)

    def forward(self, x, e):
        e = (self.modulation + e[:, None]).chunk(2, dim=1)
        return self.head(self.norm(x) * (1 + e[1]) + e[0])


class WanModel(ModelMixin, ConfigMixin):

    @register_to_config
    def __init__(self,
                 model_type="t2v",
                 patch_size=(1, 2, 2),
                 text_len=512,
                 in_dim=16,
                 dim=2048,
                 ffn_dim=8192,
                 freq_dim=256,
                 text_dim=4096,
                 out_dim=16,
                 num_heads=16,
                 num_layers=32,
                 window_size=(-1, -1),
                 qk_norm=True,
                 cross_attn_norm=True,
                 eps=1e-6):
        super().__init__()
        self.model_type = model_type
        self.patch_size = patch_size
        self.text_len = text_len
        self.dim = dim
        self.freq_dim = freq_dim
        self.out_dim = out_dim
        self.num_heads = num_heads
        self.num_layers = num_layers
        self.patch_embedding = nn.Conv3d(
            in_dim, dim, kernel_size=patch_size, stride=patch_size)
        self.text_embedding = nn.Sequential(
            nn.Linear(text_dim, dim), nn.GELU(approximate="tanh"),
            nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(
            nn.Linear(freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, dim * 6))
        self.blocks = nn.ModuleList([
            WanAttentionBlock("t2v_cross_attn", dim, ffn_dim, num_heads,
                              window_size, qk_norm, cross_attn_norm, eps)
            for _ in range(num_layers)
        ])
        self.head = Head(dim, out_dim, patch_size, eps)
        d = dim // num_heads
        self.freqs = torch.cat([
            rope_params(1024, n)
            for n in (d - 4 * (d // 6), 2 * (d // 6), 2 * (d // 6))
        ], dim=1)

    def forward(
        self,
        x,
        t,
        context,
        seq_len,
        clip_fea=None,
        y=None,
    ):
        if y is not None:
            x = [torch.cat(pair) for pair in zip(x, y)]
        x = [self.patch_embedding(u[None]) for u in x]
        grid_sizes = torch.tensor([u.shape[2:] for u in x])
        x = [u.flatten(2).transpose(1, 2) for u in x]
        seq_lens = torch.tensor([u.size(1) for u in x])
        x = torch.cat([
            torch.cat([u, u.new_zeros(1, seq_len - u.size(1), u.size(2))], 1)
            for u in x
        ])
        e = self.time_embedding(
            sinusoidal_embedding_1d(self.freq_dim, t).float())
        context = self.text_embedding(torch.stack([
            torch.cat([u, u.new_zeros(self.text_len - len(u), u.size(1))])
            for u in context
        ]))

        # what every block is told
        kwargs = dict(
            e=self.time_projection(e).unflatten(1, (6, self.dim)),
            seq_lens=seq_lens,
            grid_sizes=grid_sizes,
            freqs=self.freqs,
            context=context,
            context_lens=None)

        for block in self.blocks:
            x = block(x, **kwargs)

        return self.unpatchify(self.head(x, e), grid_sizes)

    def unpatchify(self, x, grid_sizes):
        out = []
        for u, grid in zip(x, grid_sizes.tolist()):
            u = u[:math.prod(grid)].view(*grid, *self.patch_size, self.out_dim)
            u = u.permute(6, 0, 3, 1, 4, 2, 5)
            out.append(u.flatten(5, 6).flatten(3, 4).flatten(1, 2).float())
        return out
