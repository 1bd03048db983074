r"""The joint gate: photos and video in one softmax."""
import math

import pytest
import torch

from tests import goldens
from wan.conditioning import Condition
from wan.modules.model import WanModel, rotate
from wan.modules.rope import rotation_at
from wan.refdrop.bank import Reference, capture
from wan.refdrop.config import KEEPING, RefConfig
from wan.refdrop.positions import grid_positions
from wan.refdrop.reading import reading_slots
from wan.velocity import Denoiser

GRID, PHOTO = (3, 4, 6), (1, 4, 6)
TOKENS = math.prod(GRID)
# Where the first frame of each mode's photo is, and the step to the next's.
CORNERS = {'grid': ((0, 0, 0), 0), 'offset': ((0, 4, 6), 0),
           'tail': ((3, 0, 0), 1)}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def photo(seed, mask=None):
    return Reference((draw(1, 24, 4, 24, seed=seed),),
                     (draw(1, 24, 4, 24, seed=seed + 1),), PHOTO, mask)


def joint(**changes):
    return RefConfig(**{'ref_gate': 'joint', 'ref_c': (1.,), **changes})


def attended(q, k, v):
    r"""softmax(q k^T) v in float64, and the log-sum-exp of the logits."""
    logits = torch.einsum('bqnd,bknd->bnqk', q.double(), k.double())
    logits = logits / math.sqrt(q.size(-1))
    out = torch.einsum(
        'bnqk,bknd->bqnd', logits.softmax(-1), v.double())
    return out, logits.logsumexp(-1).transpose(1, 2)[..., None]


class Tokens:
    r"""What a block hands to its slot, of two samples."""

    def __init__(self):
        self.q, self.k, self.v = (
            draw(2, TOKENS, 4, 24, seed=i) for i in range(3))
        turn = rotation_at(grid_positions(GRID), 24)
        self.q_rotated, self.k_rotated = (
            rotate(u, turn) for u in (self.q, self.k))
        self.own, self.lse = attended(self.q_rotated, self.k_rotated, self.v)
        self.x = self.own.float()

    def through(self, slot):
        return slot(self.q, self.k, self.v, self.x, self.q_rotated,
                    self.k_rotated)


@pytest.fixture(scope='module')
def tokens():
    return Tokens()


def read(rope, references):
    r"""Keys as they stand in a mode, and values, of all photos."""
    corner, step = CORNERS[rope]
    keys = []
    for n, reference in enumerate(references):
        where = grid_positions(PHOTO) + torch.tensor(corner).double()
        where[:, 0] += n * step
        kept = reference.product
        keys.append(rotate(reference.keys[0], rotation_at(where, 24))[:, kept])
    values = [r.values[0][:, r.product] for r in references]
    return tuple(torch.cat(part, 1).expand(2, -1, -1, -1)
                 for part in (keys, values))


def test_every_mode_that_keeps_the_rotation_is_here():
    assert set(CORNERS) == set(KEEPING)


@pytest.mark.parametrize('c', [(1.,), (.6,), (.2, .2), (-.3,), (-.2, -.2)])
@pytest.mark.parametrize('rope', KEEPING)
def test_it_is_one_softmax_over_all_keys(tokens, rope, c):
    references = [photo(10, torch.arange(24) % 3 > 0), photo(20)][:len(c)]
    where = torch.arange(TOKENS) % 5 < 2
    slot, = reading_slots(
        references, joint(ref_c=c, ref_rope=rope), [False, True], GRID, where)
    out = tokens.through(slot)
    key, value = read(rope, references)
    want, _ = attended(
        tokens.q_rotated, torch.cat([tokens.k_rotated, key], 1),
        torch.cat([tokens.v, value], 1))
    want = tokens.own + sum(c) * (want - tokens.own)
    assert torch.equal(out[0], tokens.x[0])
    assert torch.equal(out[1, ~where], tokens.x[1, ~where])
    torch.testing.assert_close(
        out[1, where], want[1, where].float(), atol=2e-6, rtol=0)
    assert (out - tokens.x)[1, where].abs().max() > .01


def test_the_gate_is_the_difference_of_the_log_sum_exps(tokens):
    references = [photo(10, torch.arange(24) < 9), photo(20)]
    slot, = reading_slots(
        references, joint(ref_rope='tail'), [True, True], GRID)
    ref, lse = attended(tokens.q_rotated, *read('tail', references))
    gate = (lse - tokens.lse).sigmoid()
    want = (1 - gate) * tokens.own + gate * ref
    torch.testing.assert_close(
        tokens.through(slot), want.float(), atol=2e-6, rtol=0)
    # And it is none: each token and head has its own.
    assert gate.std() > .05 and gate.shape == (2, TOKENS, 4, 1)


def test_one_number_is_for_all_photos_together(tokens):
    references = [photo(10), photo(20)]
    one, each = (
        tokens.through(reading_slots(
            references, joint(ref_c=c), [True, True], GRID)[0])
        for c in ((.8,), (.4, .4)))
    assert torch.equal(one, each)
    with pytest.raises(ValueError, match='2 product photos need as many'):
        reading_slots(references, joint(ref_c=(.2, .2, .2)), [True], GRID)


def test_a_mask_of_all_is_no_mask(tokens):
    everywhere = torch.ones(TOKENS, dtype=torch.bool)
    masked, plain = (
        tokens.through(reading_slots(
            [photo(10)], joint(ref_c=(.7,)), [True, True], GRID, where)[0])
        for where in (everywhere, None))
    torch.testing.assert_close(masked, plain)


@pytest.mark.parametrize('changes', [
    {'ref_c': (0.,)}, {'ref_c': (0., 0.)}, {'ref_layers': ''}])
def test_nothing_to_read_is_no_bank(changes):
    references = [photo(10), photo(20)]
    assert reading_slots(references, joint(**changes), [True], GRID) is None


def test_some_of_the_videos_keys_are_not_enough(tokens):
    slot, = reading_slots([photo(10)], joint(), [True, True], GRID)
    half = [u[:, :36] for u in (
        tokens.q, tokens.k, tokens.v, tokens.x, tokens.q_rotated,
        tokens.k_rotated)]
    with pytest.raises(ValueError, match="video's 72 tokens, but 36 are"):
        slot(*half)


# A trained reference model's own forward: photos appended as frames.


def network(depth):
    kwargs, state = goldens.weights('dit_t2v')
    model = WanModel(**{**kwargs, 'num_layers': depth})
    model.load_state_dict({
        name: value for name, value in state.items()
        if not name.startswith('blocks.') or int(name.split('.')[1]) < depth})
    return model.eval()


def forward(model, video, ref=None):
    return model(
        [video], t=torch.tensor([700.]), context=[draw(9, 48, seed=1)],
        seq_len=200, ref=ref)[0]


def both_ways(model, photos, rope='tail'):
    r"""Block 0's attention and the velocity, with photos appended and read."""
    video = draw(16, 3, 8, 12)
    condition = Condition((draw(9, 48, seed=1),))
    seen = []

    def spied(slot):
        def spy(*tensors):
            seen.append(tensors[3] if slot is None else slot(*tensors))
            return seen[-1]
        return spy

    rest = [None] * (len(model.blocks) - 1)
    appended = forward(
        model, torch.cat([video, *photos], 1), [spied(None), *rest])[:, :3]
    bank = [capture(Denoiser(model), z, condition, [.7]) for z in photos]
    first, *slots = reading_slots(
        bank, joint(ref_rope=rope, ref_t='match'), [True], GRID)
    banked = forward(model, video, [spied(first), *slots])
    return (seen[0][:, :TOKENS], seen[1]), (appended, banked)


@pytest.mark.parametrize('number', [1, 2])
def test_tail_is_what_appended_frames_are_to_the_first_block(number):
    photos = [draw(16, 1, 8, 12, seed=2 + i) for i in range(number)]
    attention, _ = both_ways(network(3), photos)
    torch.testing.assert_close(*attention, atol=1e-5, rtol=1e-5)
    attention, _ = both_ways(network(3), photos, 'grid')
    assert goldens.relative_error(*attention) > 1e-2
    # Of one block that is all there is.
    _, velocity = both_ways(network(1), photos)
    torch.testing.assert_close(*velocity, atol=1e-5, rtol=1e-5)


def test_in_deeper_blocks_the_bank_does_not_see_the_video():
    r"""Appended photos do; so the bank is near their model, and not it."""
    attention, velocity = both_ways(network(3), [draw(16, 1, 8, 12, seed=2)])
    torch.testing.assert_close(*attention, atol=1e-5, rtol=1e-5)
    assert goldens.relative_error(*velocity) > 1e-4
