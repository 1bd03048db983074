r"""The text's cache and the reference slots of the transformer."""
import pytest
import torch

from tests.goldens import relative_error
from tests.modules.dit import load, sample
from wan.modules.attention import attention
from wan.modules.model import TextContext, rotate


@pytest.fixture(scope='module')
def t2v():
    return load('dit_t2v')


# the text's cache


@pytest.mark.parametrize('case', ('dit_t2v_b2_ragged', 'dit_i2v_b1'))
def test_text_context_changes_nothing_and_projects_once(case, monkeypatch):
    model = load(case[:7])
    arguments = sample(case)
    plain = model(**arguments)
    calls = []
    kind = type(model.blocks[0].cross_attn)
    real = kind.keys_values
    monkeypatch.setattr(
        kind, 'keys_values',
        lambda self, context: calls.append(self) or real(self, context))
    arguments['context'] = cache = TextContext(arguments['context'])
    first = model(**arguments)
    sizes = [t.numel() for kv in cache.projected.values() for t in kv]
    later = [model(**{**arguments, 't': arguments['t'] / n}) for n in (2, 3)]
    again = model(**arguments)
    for result in (first, again):
        assert all(map(torch.equal, result, plain))
    assert not torch.equal(later[0][0], plain[0])
    assert len(calls) == len(model.blocks) == len(set(calls))
    tokens = cache.embedded.size(1)
    assert sum(sizes) == \
        2 * len(model.blocks) * len(cache) * tokens * model.dim
    assert sizes == [t.numel() for kv in cache.projected.values() for t in kv]


def test_text_context_observes_the_queries(t2v):
    seen = []

    class Watching(TextContext):
        def observe(self, attn, q):
            seen.append((attn, q.shape))

    arguments = sample()
    t2v(**{**arguments, 'context': Watching(arguments['context'])})
    assert [a for a, _ in seen] == [b.cross_attn for b in t2v.blocks]
    assert {tuple(s) for _, s in seen} == {(1, 72, 4, 24)}


# reference slots


class Capture:
    r"""A slot that keeps what it is shown and changes nothing."""

    def __init__(self):
        self.calls = []

    def __call__(self, q, k, v, x, grid_sizes, rotation, q_rotated):
        self.calls.append((q, k, v, x, grid_sizes, rotation))
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
    q, k, v, x, grid_sizes, rotation = slots[1].calls[0]
    assert {u.shape for u in (q, k, v, x)} == {(1, 72, 4, 24)}
    assert torch.equal(k.flatten(2), norms[0])
    assert torch.equal(v.flatten(2), attn.v(inputs[0]))
    assert grid_sizes.tolist() == [[3, 4, 6]]
    assert rotation.shape == (1, 72, 1, 12)


@pytest.mark.parametrize('c', (.2, .5, 1.))
def test_replaying_own_keys_and_values_gives_the_plain_output(t2v, c):
    arguments = sample()
    captures = [Capture() for _ in t2v.blocks]
    plain = t2v(**arguments, ref=captures)[0]

    def replay(capture):
        _, k, v, *_ = capture.calls[0]

        def slot(q, k_now, v_now, x, grid_sizes, rotation, q_rotated):
            read = attention(rotate(q, rotation), rotate(k, rotation), v)
            return x + c * (read - x)

        return slot

    got = t2v(**arguments, ref=[replay(s) for s in captures])[0]
    assert relative_error(got, plain) < 1e-5
    other = [
        lambda q, k, v, x, *_: x + c * (v - x)
    ] * len(t2v.blocks)
    assert relative_error(t2v(**arguments, ref=other)[0], plain) > 1e-3
