r"""Projected text, and the slots of the transformer's attentions."""
import pytest
import torch

from tests.goldens import relative_error
from tests.modules.dit import load, sample
from wan.modules.attention import attention
from wan.modules.model import TextKV, rotate
from wan.modules.rope import rotation_of


@pytest.fixture(scope='module')
def t2v():
    return load('dit_t2v')


# the text's cache


@pytest.mark.parametrize('case', ('dit_t2v_b2_ragged', 'dit_i2v_b1'))
def test_projected_text_changes_nothing(case):
    model = load(case[:7])
    arguments = sample(case)
    plain = model(**arguments)
    clip_fea = arguments.pop('clip_fea')
    text = model.project_text(arguments['context'], clip_fea)
    arguments['context'] = text
    first = model(**arguments)
    later = model(**{**arguments, 't': arguments['t'] / 2})
    again = model(**arguments)
    for result in (first, again):
        assert all(map(torch.equal, result, plain))
    assert not torch.equal(later[0], plain[0])
    tokens = model.text_len + (0 if clip_fea is None else clip_fea.size(1))
    assert len(text.blocks) == len(model.blocks)
    assert sum(t.numel() for kv in text.blocks for t in kv) == \
        2 * len(model.blocks) * len(plain) * tokens * model.dim


def test_texts_join_to_a_batch(t2v):
    arguments = sample('dit_t2v_b2_ragged')
    both = t2v.project_text(arguments['context'])
    apart = TextKV.joined([
        t2v.project_text([context]) for context in arguments['context']])
    for one, other in zip(both.blocks, apart.blocks, strict=True):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b)


def test_cross_slots_see_the_texts_attention(t2v):
    arguments = sample()
    plain = t2v(**arguments)[0]
    seen = []

    def look(q, k, v, x):
        seen.append((q, k, v, x))
        return x

    cross = [look, None, look]
    assert torch.equal(t2v(**arguments, cross=cross)[0], plain)
    assert len(seen) == 2
    q, k, v, x = seen[1]
    assert q.shape == x.shape == (1, 72, 4, 24)
    torch.testing.assert_close(attention(q, k, v), x)
    nothing = [None, None, lambda q, k, v, x: torch.zeros_like(x)]
    assert relative_error(t2v(**arguments, cross=nothing)[0], plain) > 1e-3


# reference slots


class Capture:
    r"""A slot that keeps what it is shown and changes nothing."""

    def __init__(self):
        self.calls = []

    def __call__(self, q, k, v, x, q_rotated, k_rotated):
        self.calls.append((q, k, v, x, q_rotated, k_rotated))
        return x


def test_no_slot_changes_nothing(t2v):
    arguments = sample()
    plain = t2v(**arguments)[0]
    assert torch.equal(t2v(**arguments, ref=None)[0], plain)
    assert torch.equal(t2v(**arguments, ref=[None] * 3)[0], plain)


def test_capturing_slot_sees_normed_unrotated_tokens(t2v):
    arguments = sample()
    plain = t2v(**arguments)[0]
    inputs, norms = [], []
    attn = t2v.blocks[1].self_attn
    hooks = [
        attn.register_forward_pre_hook(
            lambda m, args: inputs.append(args[0])),
        attn.norm_k.register_forward_hook(
            lambda m, args, out: norms.append(out)),
    ]
    slots = [Capture(), Capture(), None]
    assert torch.equal(t2v(**arguments, ref=slots)[0], plain)
    for hook in hooks:
        hook.remove()
    assert [len(s.calls) for s in slots[:2]] == [1, 1]
    q, k, v, x, q_rotated, k_rotated = slots[1].calls[0]
    assert {u.shape for u in slots[1].calls[0]} == {(1, 72, 4, 24)}
    assert torch.equal(k.flatten(2), norms[0])
    assert torch.equal(v.flatten(2), attn.v(inputs[0]))
    rotation = rotation_of(x, [(3, 4, 6)], t2v.freqs)
    assert torch.equal(q_rotated, rotate(q, rotation))
    assert torch.equal(k_rotated, rotate(k, rotation))


@pytest.mark.parametrize('c', (.2, .5, 1.))
def test_replaying_own_keys_and_values_gives_the_plain_output(t2v, c):
    arguments = sample()
    captures = [Capture() for _ in t2v.blocks]
    plain = t2v(**arguments, ref=captures)[0]

    def replay(capture):
        _, k, v, *_ = capture.calls[0]
        rotation = rotation_of(k, [(3, 4, 6)], t2v.freqs)

        def slot(q, k_now, v_now, x, q_rotated, k_rotated):
            read = attention(q_rotated, rotate(k, rotation), v)
            return x + c * (read - x)

        return slot

    got = t2v(**arguments, ref=[replay(s) for s in captures])[0]
    assert relative_error(got, plain) < 1e-5
    other = [
        lambda q, k, v, x, *_: x + c * (v - x)
    ] * len(t2v.blocks)
    assert relative_error(t2v(**arguments, ref=other)[0], plain) > 1e-3
