r"""What stands before a product stays there."""
import pytest
import torch

from wan.product.collage import collage
from wan.product.places import Places
from wan.product.whole import whole

SIZE, FRAMES = 96, 9
BOX = (slice(30, 70), slice(30, 66))


def scene(post=True, colour=(-.6, .2, -.6), narrow=None):
    r"""A bright product on grey; a post goes by in front of it.

    Returns:
        Video, visible mask, whole mask and post.
    """
    video = torch.full((3, FRAMES, SIZE, SIZE), .1)
    full, front = (torch.zeros(FRAMES, SIZE, SIZE) for _ in range(2))
    full[:, BOX[0], BOX[1]] = 1
    if narrow is not None:
        full[narrow, :, 48:] = 0
    video[:, full > 0] = .9
    if post:
        for i in range(FRAMES):
            front[i, 40:90, 10 * i + 2:10 * i + 9] = 1
        video[:, front > 0] = torch.tensor(colour)[:, None]
    return video, full * (1 - front), full, front


def found(video, mask):
    places = Places.of(mask)
    seen = places.size.nonzero().flatten().tolist()
    return whole(video, mask, places, seen, torch.zeros(len(seen)))


def test_what_is_hidden_is_completed_and_what_hides_it_is_found():
    video, mask, full, front = scene()
    hidden = full - mask
    done = found(video, mask)
    assert hidden.sum() > 500
    # At the outline's own edge a little of the post is not told apart.
    assert (done.mask != full).float().sum() < .2 * hidden.sum()
    # Of the post, also what goes on beyond the product.
    assert (done.front * front).sum() == done.front.sum()
    assert (done.front * hidden).sum() > .8 * hidden.sum()
    assert done.front.sum() > 1.2 * hidden.sum()


def test_an_outline_that_changes_hides_nothing():
    for scenery in (scene(post=False), scene(post=False, narrow=4)):
        video, mask, full, _ = scenery
        done = found(video, mask)
        assert not done.front.any() and torch.equal(done.mask, full)


@pytest.mark.parametrize('frames', [1, 2])
def test_few_frames_tell_nothing(frames):
    video, mask, _, _ = scene()
    done = found(video[:, :frames], mask[:frames])
    assert torch.equal(done.mask, mask[:frames]) and not done.front.any()


def test_the_pixels_in_front_stay_and_the_paste_keeps_its_size():
    video, mask, full, front = scene()
    alpha = torch.zeros(1, SIZE, SIZE)
    alpha[0, 20:80, 20:74] = 1
    photo = torch.full((3, 1, SIZE, SIZE), -1.)
    flat, solid = (collage(video, mask, photo, alpha, kind)
                   for kind in ('flat', 'upright'))
    hidden = found(video, mask).front > 0
    assert hidden.sum() > 600
    assert torch.equal(solid.video[:, hidden], video[:, hidden])
    assert not solid.alpha[hidden].any()
    assert (flat.video[:, hidden] - video[:, hidden]).abs().mean() > .3
    areas = [(done.alpha + (front if i else 0)).clamp(max=1).mul(full).sum(
        (1, 2)) for i, done in enumerate((flat, solid))]
    assert areas[1].min() > .93 * full[0].sum()
    assert areas[0].min() < .9 * full[0].sum()
