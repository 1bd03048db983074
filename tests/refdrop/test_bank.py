r"""The reference bank against the identities of the method."""
import pytest
import torch

from tests import goldens
from wan.conditioning import Condition
from wan.modules.attention import attention
from wan.modules.model import WanModel, rotate
from wan.modules.rope import rotation_of
from wan.refdrop.bank import Reference
from wan.refdrop.bank import capture as capture_with
from wan.refdrop.blend import blend, match_moments, match_norm
from wan.refdrop.config import READERS, ROPES, RefConfig
from wan.refdrop.reading import reading_slots
from wan.velocity import Denoiser

GRID = (3, 4, 6)


@pytest.fixture(scope='module')
def model():
    kwargs, state = goldens.weights('dit_t2v')
    model = WanModel(**kwargs)
    model.load_state_dict(state)
    return model.eval()


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def video():
    return draw(16, 3, 8, 12)


@pytest.fixture
def context():
    return [draw(9, 48, seed=1)]


def capture(model, latent, context, sigmas=(0.,), noise=None, mask=None):
    return capture_with(
        Denoiser(model), latent, Condition(tuple(context)), sigmas, noise,
        mask)


@pytest.fixture
def reference(model, context):
    return capture(model, draw(16, 1, 8, 12, seed=2), context)


def forward(model, x, context, ref=None, t=700.):
    x = x if isinstance(x, list) else [x]
    return torch.stack(model(
        x, t=torch.full((len(x),), t), context=context * len(x), seq_len=72,
        ref=ref))


def test_capture_keeps_normed_unrotated_keys(model, context):
    photo = draw(16, 1, 8, 12, seed=2)
    seen = []
    forward(model, photo, context, t=0., ref=[
        lambda q, k, v, x, *_: (seen.append((k, v)), x)[1]
    ] * 3)
    reference = capture(model, photo, context)
    assert reference.grid == (1, 4, 6) and len(reference.keys) == 3
    for (k, v), kept_k, kept_v in zip(
            seen, reference.keys, reference.values, strict=True):
        assert torch.equal(k, kept_k) and torch.equal(v, kept_v)
    weight = model.blocks[0].self_attn.norm_k.weight
    length = (reference.keys[0].flatten(2) / weight).square().mean(-1)
    torch.testing.assert_close(length, torch.ones_like(length), atol=1e-3,
                               rtol=0)


def test_levels_are_averaged_and_noise_is_mixed_in(model, context):
    photo, noise = draw(16, 1, 8, 12, seed=2), draw(16, 1, 8, 12, seed=3)
    low, high, both = (
        capture(model, photo, context, levels)
        for levels in ([.2], [.6], [.2, .6]))
    torch.testing.assert_close(
        both.values[1], (low.values[1] + high.values[1]) / 2)
    torch.testing.assert_close(both.keys[2], (low.keys[2] + high.keys[2]) / 2)
    noised = capture(model, photo, context, [.6], noise)
    direct = capture(model, .4 * photo + .6 * noise, context, [.6])
    assert torch.equal(noised.keys[0], direct.keys[0])
    assert not torch.equal(noised.keys[0], high.keys[0])


@pytest.mark.parametrize('mode', READERS)
@pytest.mark.parametrize('changes', [
    {'ref_c': (0.,)}, {'ref_layers': ''}])
def test_nothing_to_read_is_no_bank(reference, mode, changes):
    config = RefConfig(ref_branches=mode, **changes)
    assert reading_slots([reference], config, [True, True], GRID) is None


@pytest.mark.parametrize('c', [.2, .5, 1.])
def test_replaying_its_own_keys_changes_nothing(model, video, context, c):
    plain = forward(model, video, context)
    reference = capture(model, video, context, [.7])
    assert reference.grid == GRID
    slots = reading_slots([reference], RefConfig(ref_c=(c,)), [True], GRID)
    replayed = forward(model, video, context, slots)
    torch.testing.assert_close(replayed, plain, atol=1e-5, rtol=1e-5)


def test_reading_is_the_formula(model, video, context, reference):
    config = RefConfig(ref_c=(.3,), ref_layers='1')
    slots = reading_slots([reference], config, [True], GRID)
    assert slots[0] is None and slots[2] is None
    seen = {}

    def spy(q, k, v, x, *rotated):
        rotation = rotation_of(x, [GRID], model.freqs)
        seen['out'] = slots[1](q, k, v, x, *rotated)
        key = rotate(reference.keys[1], rotation[:, :24])
        seen['want'] = .7 * x + .3 * attention(
            rotate(q, rotation), key, reference.values[1])
        return seen['out']

    forward(model, video, context, [None, spy, None])
    # The photo's grid is the video's first frame: same rotations.
    torch.testing.assert_close(seen['out'], seen['want'])


def test_masks_keep_out_keys_and_queries(model, video, context, reference):
    kept = torch.zeros(24, dtype=torch.bool)
    kept[[3, 7, 8]] = True
    masked = Reference(reference.keys, reference.values, reference.grid, kept)
    config = RefConfig(ref_c=(.5,))
    where = torch.zeros(72, dtype=torch.bool)
    where[10:20] = True
    outputs = []
    for tampered in (False, True):
        ref = masked
        if tampered:  # what the mask leaves out cannot matter
            keys = [k.clone() for k in masked.keys]
            for k in keys:
                k[:, ~kept] += 5
            ref = Reference(
                tuple(keys), masked.values, masked.grid, kept)
        slots = reading_slots([ref], config, [True], GRID, where)
        outputs.append(forward(model, video, context, slots))
    assert torch.equal(*outputs)
    assert masked.box.tolist() == [0, 1, 2, 4]

    x = draw(1, 72, 4, 24, seed=5)
    q = k = v = draw(1, 72, 4, 24, seed=6)
    slot = reading_slots([masked], config, [True], GRID, where)[0]
    out = slot(q, k, v, x, q, k)
    assert torch.equal(out[:, ~where], x[:, ~where])
    assert not torch.equal(out[:, where], x[:, where])


def test_without_the_key_mask_the_box_is_still_the_products(
        model, video, context, reference):
    kept = torch.zeros(24, dtype=torch.bool)
    kept[[8, 9, 14, 15]] = True  # rows 1 and 2, columns 2 and 3
    boxes = torch.tensor([[0, 0, 4, 6]] * 3)
    outputs = []
    for mask in (kept, None):
        product = Reference(
            reference.keys, reference.values, reference.grid, mask)
        config = RefConfig(
            ref_c=(.5,), ref_rope='box', ref_key_mask=False)
        slots = reading_slots([product], config, [True], GRID, boxes=boxes)
        outputs.append(forward(model, video, context, slots))
    assert not torch.allclose(*outputs, atol=1e-4)


def test_only_reading_samples_of_a_batch_change(
        model, video, context, reference):
    other = draw(16, 3, 8, 12, seed=9)

    def slots(*reads):
        return reading_slots(
            [reference], RefConfig(ref_c=(.4,)), reads, GRID)

    batch = forward(model, [video, other], context, slots(False, True))
    torch.testing.assert_close(batch[:1], forward(model, video, context),
                               atol=1e-5, rtol=1e-5)
    alone = forward(model, other, context, slots(True))
    torch.testing.assert_close(batch[1:], alone, atol=1e-5, rtol=1e-5)
    assert slots(False, False) is None


def test_reading_leaves_the_bank_as_it_was(model, video, context, reference):
    before = [t.clone() for t in (*reference.keys, *reference.values)]
    for rope in ROPES:
        boxes = torch.tensor([[0, 0, 4, 6]] * 3)
        forward(model, video, context, reading_slots(
            [reference], RefConfig(ref_rope=rope, ref_stats='norm'), [True],
            GRID, boxes=boxes))
    for was, now in zip(
            before, (*reference.keys, *reference.values), strict=True):
        assert torch.equal(was, now)


def test_several_references_and_negative_c(model, video, context, reference):
    second = capture(model, draw(16, 1, 8, 12, seed=12), context)
    one = forward(model, video, context, reading_slots(
        [reference], RefConfig(ref_c=(.3,)), [True], GRID))
    two = forward(model, video, context, reading_slots(
        [reference, second], RefConfig(ref_c=(.3, 0.)), [True], GRID))
    assert torch.equal(one, two)
    x, a, b = (draw(1, 5, 2, 4, seed=i) for i in range(3))
    torch.testing.assert_close(
        blend(x, [a, b], [.3, -.2]), .9 * x + .3 * a - .2 * b)
    with pytest.raises(ValueError, match='2 product photos'):
        reading_slots([reference, second], RefConfig(), [True], GRID)


def test_bf16_reads_near_float32(model, video, context, reference):
    config = RefConfig(ref_c=(.5,))
    want = forward(model, video, context, reading_slots(
        [reference], config, [True], GRID))
    half = WanModel(**goldens.weights('dit_t2v')[0])
    half.load_state_dict(model.state_dict())
    for name, p in half.named_parameters():
        if not any(part in WanModel._keep_in_fp32_modules
                   for part in name.split('.')):
            p.data = p.data.bfloat16()
    photo = draw(16, 1, 8, 12, seed=2)
    got = forward(half, video, context, reading_slots(
        [capture(half, photo, context)], config, [True], GRID))
    assert goldens.relative_error(got, want) < 5e-2


def test_statistics():
    x, ref = draw(1, 30, 2, 4), 3 * draw(1, 30, 2, 4, seed=1) + 1
    norm = torch.linalg.vector_norm
    torch.testing.assert_close(
        norm(match_norm(ref, x), dim=(2, 3)), norm(x, dim=(2, 3)))
    matched = match_moments(ref, x)
    torch.testing.assert_close(matched.mean(1), x.mean(1))
    torch.testing.assert_close(matched.std(1), x.std(1))
