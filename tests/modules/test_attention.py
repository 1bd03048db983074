r"""Attention against softmax written out in float64."""
import sys
from types import SimpleNamespace

import pytest
import torch

from tests.goldens import relative_error
from wan.modules import backends as module
from wan.modules.attention import flash_attention
from wan.modules.backends import BACKENDS, attention, check_backend

CPU_BACKENDS = ('auto', 'sdpa', 'flash', 'math', 'matmul')
LIMITS = {torch.float32: 2e-6, torch.bfloat16: 1e-2}


def qkv(lq=7, lk=9, nq=4, nk=4, d=16, b=3, dtype=torch.float32, seed=0):
    g = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(b, l, n, d, generator=g).to(dtype)
        for l, n in ((lq, nq), (lk, nk), (lk, nk)))


def softmax_attention(
    q, k, v, q_lens=None, k_lens=None, scale=None, causal=False,
    window=(-1, -1),
):
    r"""The definition, one query at a time."""
    group = q.size(2) // k.size(2)
    q, k, v = (x.double() for x in (q, k, v))
    k, v = (x.repeat_interleave(group, dim=2) for x in (k, v))
    scale = q.size(-1)**-0.5 if scale is None else scale
    left, right = window[0], 0 if causal else window[1]
    out = torch.zeros(*q.shape[:-1], v.size(-1), dtype=torch.float64)
    for b in range(len(q)):
        lq = q.size(1) if q_lens is None else int(q_lens[b])
        lk = k.size(1) if k_lens is None else int(k_lens[b])
        for i in range(lq):
            centre = i + lk - lq
            first = max(0, centre - left) if left >= 0 else 0
            last = min(lk, centre + right + 1) if right >= 0 else lk
            if first >= last:
                continue
            keys, values = k[b, first:last], v[b, first:last]
            weights = torch.softmax(
                torch.einsum('nc,lnc->nl', q[b, i], keys) * scale, dim=-1)
            out[b, i] = torch.einsum('nl,lnc->nc', weights, values)
    return out


@pytest.mark.parametrize('dtype', LIMITS)
@pytest.mark.parametrize('backend', CPU_BACKENDS)
def test_matches_softmax_for_any_lengths(backend, dtype):
    q, k, v = qkv(dtype=dtype)
    lengths = {'q_lens': torch.tensor([7, 3, 5]),
               'k_lens': torch.tensor([2, 9, 4])}
    for names in ((), ('q_lens',), ('k_lens',), ('q_lens', 'k_lens')):
        lens = {n: lengths[n] for n in names}
        got = attention(q, k, v, **lens, backend=backend)
        assert got.dtype == dtype
        assert relative_error(
            got, softmax_attention(q, k, v, **lens)) < LIMITS[dtype]


@pytest.mark.parametrize('backend', CPU_BACKENDS)
def test_keys_past_their_length_leave_no_trace(backend):
    q, k, v = qkv()
    k_lens = torch.tensor([2, 9, 4])
    clean = attention(q, k, v, k_lens=k_lens, backend=backend)
    for i, n in enumerate(k_lens):
        k[i, n:], v[i, n:] = float('nan'), float('inf')
    dirty = attention(q, k, v, k_lens=k_lens, backend=backend)
    assert torch.equal(clean, dirty)


def test_rows_past_their_length_and_without_keys_are_zero():
    q, k, v = qkv()
    out = attention(q, k, v, torch.tensor([7, 0, 5]), torch.tensor([0, 9, 4]))
    assert not out[0].any() and not out[1].any() and not out[2, 5:].any()
    assert out[2, :5].all()


@pytest.mark.parametrize('backend', CPU_BACKENDS)
@pytest.mark.parametrize('causal', (False, True))
@pytest.mark.parametrize('window', ((-1, -1), (2, 1), (0, -1), (-1, 3)))
@pytest.mark.parametrize('lq, lk', ((7, 7), (5, 9), (9, 5)))
def test_causal_and_window(backend, causal, window, lq, lk):
    q, k, v = qkv(lq, lk)
    got = attention(
        q, k, v, causal=causal, window_size=window, backend=backend)
    want = softmax_attention(q, k, v, causal=causal, window=window)
    assert relative_error(got, want) < 2e-6


def test_causal_diagonal_ends_at_each_samples_own_lengths():
    q, k, v = qkv(6, 6)
    lens = {'q_lens': torch.tensor([6, 3, 2]),
            'k_lens': torch.tensor([4, 6, 2])}
    got = attention(q, k, v, causal=True, **lens)
    assert relative_error(
        got, softmax_attention(q, k, v, causal=True, **lens)) < 2e-6


@pytest.mark.parametrize('backend', CPU_BACKENDS)
def test_grouped_queries(backend):
    q, k, v = qkv(nq=6, nk=2)
    got = attention(q, k, v, backend=backend)
    assert relative_error(got, softmax_attention(q, k, v)) < 2e-6


def test_value_channels_may_differ_from_key_channels():
    q, k, v = qkv()
    v = v[..., :5]
    assert relative_error(
        attention(q, k, v), softmax_attention(q, k, v)) < 2e-6


def test_scales():
    q, k, v = qkv()
    want = softmax_attention(q, k, v, scale=0.3)
    assert relative_error(attention(q, k, v, softmax_scale=.3), want) < 2e-6
    assert relative_error(
        attention(q, k, v, softmax_scale=.1, q_scale=3.), want) < 2e-6


def test_result_has_the_dtype_of_q_where_inputs_differ():
    q, k, v = qkv()
    out = attention(q.bfloat16(), k.bfloat16(), v)
    assert out.dtype == torch.bfloat16
    out = attention(q, k.bfloat16(), v.bfloat16())
    assert out.dtype == torch.float32


def test_flash_attention_is_attention():
    q, k, v = qkv()
    kwargs = dict(k_lens=torch.tensor([2, 9, 4]), q_scale=2., causal=True,
                  window_size=(3, 0))
    assert torch.equal(
        flash_attention(q, k, v, **kwargs), attention(q, k, v, **kwargs))


def fake_flash(monkeypatch, package, as_tuple=False):
    r"""Install a stand-in for a FlashAttention package; returns its calls."""
    calls = []

    def flash_attn_func(q, k, v, **kwargs):
        calls.append(((q, k, v), kwargs))
        out = module._sdpa(
            'sdpa', q, k, v, 0., kwargs['softmax_scale'], kwargs['causal'],
            kwargs['window_size'])
        return (out, None) if as_tuple else out

    monkeypatch.setitem(
        sys.modules, package, SimpleNamespace(flash_attn_func=flash_attn_func))
    return calls


@pytest.mark.parametrize('name, package, as_tuple', (
    ('fa2', 'flash_attn', False), ('fa3', 'flash_attn_interface', False),
    ('fa3', 'flash_attn_interface', True)))
def test_flash_packages(monkeypatch, name, package, as_tuple):
    calls = fake_flash(monkeypatch, package, as_tuple)
    q, k, v = qkv()
    out = attention(
        q, k, v, softmax_scale=.5, window_size=(4, 2), deterministic=True,
        dtype=torch.float16, backend=name)
    (sent,), kwargs = [c[0] for c in calls], calls[0][1]
    assert {x.dtype for x in sent} == {torch.float16}
    expected = dict(softmax_scale=.5, causal=False, window_size=(4, 2),
                    deterministic=True)
    assert kwargs == expected | ({'dropout_p': 0.} if name == 'fa2' else {})
    assert out.dtype == torch.float32
    want = softmax_attention(q, k, v, scale=.5, window=(4, 2))
    assert relative_error(out, want) < 2e-3


def test_flash_packages_keep_a_half_dtype_and_see_true_lengths(monkeypatch):
    calls = fake_flash(monkeypatch, 'flash_attn')
    q, k, v = qkv(dtype=torch.bfloat16)
    attention(q, k, v, k_lens=torch.tensor([2, 9, 4]), backend='fa2',
              dtype=torch.float16)
    assert [c[0][1].size(1) for c in calls] == [2, 9, 4]
    assert all(x.dtype == torch.bfloat16 for c in calls for x in c[0])


def test_flash_attention_3_refuses_dropout(monkeypatch):
    fake_flash(monkeypatch, 'flash_attn_interface')
    with pytest.raises(ValueError, match='dropout'):
        attention(*qkv(), dropout_p=.1, backend='fa3')


class OnCuda(torch.Tensor):
    r"""A CPU tensor that claims to be on a GPU."""

    is_cuda = True


@pytest.mark.parametrize('installed, capability, head_dim, chosen', (
    ((2, 3), (9, 0), 128, 'fa3'), ((2, 3), (8, 0), 128, 'fa2'),
    ((2,), (9, 0), 128, 'fa2'), ((), (9, 0), 128, 'sdpa'),
    ((3,), (8, 0), 128, 'sdpa'), ((2, 3), (9, 0), 512, 'sdpa')))
def test_automatic_choice(
    monkeypatch, installed, capability, head_dim, chosen
):
    monkeypatch.setattr(module, 'FLASH_ATTN_2_AVAILABLE', 2 in installed)
    monkeypatch.setattr(module, 'FLASH_ATTN_3_AVAILABLE', 3 in installed)
    monkeypatch.setattr(
        torch.cuda, 'get_device_capability', lambda device: capability)
    q = torch.zeros(1, 1, 1, head_dim)
    assert module._choose(q.as_subclass(OnCuda), None, 'auto') == chosen
    assert module._choose(q, None, 'auto') == 'sdpa'


@pytest.mark.parametrize('version, installed, chosen', (
    (2, (2, 3), 'fa2'), (3, (2, 3), 'fa3'), (3, (2,), 'fa2')))
def test_forced_version(monkeypatch, version, installed, chosen):
    monkeypatch.setattr(module, 'FLASH_ATTN_2_AVAILABLE', 2 in installed)
    monkeypatch.setattr(module, 'FLASH_ATTN_3_AVAILABLE', 3 in installed)
    monkeypatch.setattr(
        torch.cuda, 'get_device_capability', lambda device: (9, 0))
    q = torch.zeros(1, 1, 1, 64)
    assert module._choose(q.as_subclass(OnCuda), version, 'sdpa') == chosen
    assert module._choose(q, version, 'sdpa') == 'sdpa'


def test_each_call_names_its_back_end(monkeypatch):
    seen = []
    real = module._sdpa
    monkeypatch.setattr(
        module, '_sdpa', lambda name, *a: seen.append(name) or real(name, *a))
    attention(*qkv(), backend='math')
    attention(*qkv())
    assert seen == ['math', 'sdpa']


def test_unknown_back_end_is_refused():
    with pytest.raises(ValueError, match="'magic'.*auto, fa3"):
        check_backend('magic')
    with pytest.raises(ValueError, match="'magic'.*auto, fa3"):
        attention(*qkv(), backend='magic')


@pytest.mark.parametrize('name', BACKENDS)
def test_back_end_must_be_there(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    if name in CPU_BACKENDS:
        check_backend(name)
        assert attention(*qkv()).isfinite().all()
        return
    monkeypatch.setattr(module, 'FLASH_ATTN_2_AVAILABLE', False)
    monkeypatch.setattr(module, 'FLASH_ATTN_3_AVAILABLE', False)
    with pytest.raises(ValueError, match=name):
        check_backend(name)
    monkeypatch.setattr(module, 'FLASH_ATTN_2_AVAILABLE', True)
    monkeypatch.setattr(module, 'FLASH_ATTN_3_AVAILABLE', True)
    with pytest.raises(ValueError, match='CUDA'):
        check_backend(name)
