r"""Scaled dot product attention on whatever kernel the machine has."""
from contextlib import nullcontext
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

FLASH_ATTN_3_AVAILABLE = find_spec('flash_attn_interface') is not None
FLASH_ATTN_2_AVAILABLE = find_spec('flash_attn') is not None

SDPA_KERNELS = {
    'cudnn': SDPBackend.CUDNN_ATTENTION,
    'flash': SDPBackend.FLASH_ATTENTION,
    'efficient': SDPBackend.EFFICIENT_ATTENTION,
    'math': SDPBackend.MATH,
}
BACKENDS = ('auto', 'fa3', 'fa2', 'sdpa', *SDPA_KERNELS, 'matmul')
CUDA_ONLY = ('fa3', 'fa2', 'cudnn', 'efficient')


def check_backend(name: str) -> None:
    r"""Check that a back end can be used on this machine.

    Args:
        name: 'auto' takes FlashAttention-3, FlashAttention-2 or torch's SDPA,
            whichever the device has, in that order; 'sdpa' lets torch choose
            its kernel; 'matmul' writes the products out, which suits short
            sequences under torch.compile; the other names force a kernel.

    Raises:
        ValueError: unknown name, or the package or device is not there.
    """
    _check_known(name)
    if name == 'fa3' and not FLASH_ATTN_3_AVAILABLE or \
            name == 'fa2' and not FLASH_ATTN_2_AVAILABLE:
        raise ValueError(f'Attention back end {name!r} is not installed.')
    if name in CUDA_ONLY and not torch.cuda.is_available():
        raise ValueError(f'Attention back end {name!r} needs a CUDA device.')


def _check_known(name: str) -> None:
    if name not in BACKENDS:
        raise ValueError(
            f'Unknown attention back end {name!r}; allowed: '
            f'{", ".join(BACKENDS)}.')


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    q_lens: torch.Tensor | None = None,
    k_lens: torch.Tensor | None = None,
    dropout_p: float = 0.,
    softmax_scale: float | None = None,
    q_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    deterministic: bool = False,
    dtype: torch.dtype = torch.bfloat16,
    fa_version: int | None = None,
    *,
    backend: str = 'auto',
) -> torch.Tensor:
    r"""softmax(q k^T * scale) v, per sample and head.

    A batch of unequal lengths is computed sample by sample, so that every
    back end sees exactly the keys that exist and none needs a mask.

    Args:
        q: [B, Lq, Nq, C1].
        k: [B, Lk, Nk, C1]; Nq must be a multiple of Nk.
        v: [B, Lk, Nk, C2].
        q_lens: [B], true query lengths; rows past them come back as zeros.
        k_lens: [B], true key lengths; keys past them take no part.
        dropout_p: dropout probability of the attention weights.
        softmax_scale: scale of the logits; 1 / sqrt(C1) if not given.
        q_scale: factor applied to q.
        causal: query i of Lq sees keys up to i + Lk - Lq.
        window_size: (left, right) keys seen around that diagonal, -1 is all.
        deterministic: ask FlashAttention for its deterministic backward.
        dtype: half precision dtype that FlashAttention casts float32 to;
            torch's kernels need no cast and compute in the inputs' dtype.
        fa_version: 2 or 3 forces that FlashAttention, like `backend`.
        backend: one of `BACKENDS`; see `check_backend`.

    Returns:
        [B, Lq, Nq, C2] in q's dtype.
    """
    lengths = _ragged(q, q_lens, k, k_lens)
    kwargs = dict(
        dropout_p=dropout_p, softmax_scale=softmax_scale, q_scale=q_scale,
        causal=causal, window_size=window_size, deterministic=deterministic,
        dtype=dtype, fa_version=fa_version, backend=backend)
    if lengths is not None:
        out = q.new_zeros(*q.shape[:-1], v.size(-1))
        for i, (lq, lk) in enumerate(lengths):
            if lq and lk:
                out[i, :lq] = attention(
                    q[i:i + 1, :lq], k[i:i + 1, :lk], v[i:i + 1, :lk],
                    **kwargs)[0]
        return out

    out_dtype = q.dtype
    if q_scale is not None:
        q = q * q_scale
    name = _choose(q, fa_version, backend)
    if name in ('fa3', 'fa2'):
        half = dtype if v.dtype == torch.float32 else v.dtype
        out = _flash(
            name, q.to(half), k.to(half), v.to(half), dropout_p=dropout_p,
            softmax_scale=softmax_scale, causal=causal,
            window_size=window_size, deterministic=deterministic)
    else:
        out = _sdpa(
            name, q, k, v, dropout_p, softmax_scale, causal, window_size)
    return out.to(out_dtype)


def _ragged(q, q_lens, k, k_lens) -> list[tuple[int, int]] | None:
    r"""(Lq, Lk) of each sample, or None when every sample is full."""
    if q_lens is None and k_lens is None:
        return None
    lq = [q.size(1)] * len(q) if q_lens is None else q_lens.tolist()
    lk = [k.size(1)] * len(k) if k_lens is None else k_lens.tolist()
    lengths = list(zip(lq, lk, strict=True))
    return None if set(lengths) == {(q.size(1), k.size(1))} else lengths


def _choose(q, fa_version, backend) -> str:
    _check_known(backend)
    if fa_version is not None:
        backend = f'fa{fa_version}'
        available = {2: FLASH_ATTN_2_AVAILABLE, 3: FLASH_ATTN_3_AVAILABLE}
        if not (available.get(fa_version) and q.is_cuda):
            backend = 'auto'
    if backend != 'auto':
        return backend
    if q.is_cuda and q.size(-1) <= 256:
        # FlashAttention-3 is built for Hopper only.
        if FLASH_ATTN_3_AVAILABLE and \
                torch.cuda.get_device_capability(q.device)[0] == 9:
            return 'fa3'
        if FLASH_ATTN_2_AVAILABLE:
            return 'fa2'
    return 'sdpa'


def _flash(name, q, k, v, **kwargs) -> torch.Tensor:
    if name == 'fa3':
        from flash_attn_interface import flash_attn_func
        if kwargs.pop('dropout_p'):
            raise ValueError('FlashAttention-3 has no dropout.')
    else:
        from flash_attn import flash_attn_func
    out = flash_attn_func(q, k, v, **kwargs)
    # Early FlashAttention-3 releases return (out, logsumexp).
    return out[0] if isinstance(out, tuple) else out


def _sdpa(name, q, k, v, dropout_p, scale, causal, window_size):
    dtype = torch.promote_types(torch.promote_types(q.dtype, k.dtype), v.dtype)
    q, k, v = (x.to(dtype).transpose(1, 2) for x in (q, k, v))
    mask = _band_mask(q.size(2), k.size(2), causal, window_size, q.device)
    kernel = sdpa_kernel(SDPA_KERNELS[name]) if name in SDPA_KERNELS \
        else nullcontext()
    with kernel:
        if name == 'matmul' and not dropout_p and q.size(1) == k.size(1):
            out = _products(q, k, v, mask, scale)
        else:
            out = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout_p, scale=scale,
                enable_gqa=q.size(1) != k.size(1))
    if mask is not None:
        # A query that sees no key at all gives zeros, as FlashAttention does.
        out = out.masked_fill(~mask.any(-1, keepdim=True), 0.)
    return out.transpose(1, 2)


def _products(q, k, v, mask, scale):
    r"""The formula as it stands, [B, N, L, D]; the scores are kept whole.

    For short sequences torch.compile makes the fastest training step of it.
    """
    scores = q @ k.transpose(-1, -2)
    scores = scores * (q.size(-1)**-0.5 if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v


def _band_mask(lq, lk, causal, window_size, device) -> torch.Tensor | None:
    r"""[Lq, Lk], true where a query sees a key; None when it sees all."""
    left, right = window_size
    if causal:
        right = 0
    if left < 0 and right < 0:
        return None
    # The last query lies on the last key.
    offset = torch.arange(lk, device=device) - \
        torch.arange(lk - lq, lk, device=device)[:, None]
    mask = torch.ones_like(offset, dtype=torch.bool)
    if left >= 0:
        mask &= offset >= -left
    if right >= 0:
        mask &= offset <= right
    return mask
