r"""Frames that are not square, and native templates."""
from dataclasses import replace

import pytest
import torch

from wan.synth import (
    TEST_SEEDS,
    TUNE_SEEDS,
    Article,
    Clip,
    Motion,
    Pose,
    Scene,
    render_background,
    render_clip,
    sample_clip,
    swap,
    visible_mask,
)
from wan.synth.bench.pairs import make_native_pair
from wan.synth.drawing import coordinates
from wan.synth.native import FPS, FRAMES, area, sample_native, write_native
from wan.utils.video import probe

ALONE = Scene('plain', 'mint')


@pytest.mark.parametrize('seed', range(3))
def test_a_wide_frame_shows_more_of_the_same_scene(seed):
    square = sample_clip(seed, 64, 3)
    wide = replace(square, width=112)
    for render in (render_clip, render_background, visible_mask):
        middle = render(wide)[..., 24:88]
        assert torch.allclose(middle, render(square), atol=1e-4)
    assert render_clip(wide).shape == (3, 3, 64, 112)


def test_square_frames_keep_their_bits():
    for clip in (sample_clip(seed, 48, 3) for seed in range(5)):
        assert torch.equal(
            render_clip(clip), render_clip(replace(clip, width=48)))
    for size in (16, 48, 100, 128, 256):  # what the model has learned from
        grid = (torch.arange(size) + 0.5) * (2 / size) - 1
        assert torch.equal(coordinates(0, size, size, 2 / size), grid)


def test_a_product_reaches_the_edges_of_a_wide_frame():
    motion = Motion(Pose(0., 0., 0., 0.25), dx=-3.)
    clip = Clip(Article('disc', 'solid', ('red',)), ALONE, motion, 36, 3, 64)
    mask = visible_mask(clip)
    centres = (mask.sum(1) * torch.arange(64)).sum(1) / mask.sum((1, 2))
    assert centres[1] == pytest.approx(31.5, abs=.01)
    assert mask[0, :, 52:].sum() > 0.9 * mask[0].sum()
    assert mask[2, :, :12].sum() > 0.9 * mask[2].sum()


def test_a_swap_changes_wide_frames_at_the_products_alone():
    clip = sample_native(3, 72, 3)
    other = swap(clip, Article('ring', 'solid', ('pink',)))
    touched = [(render_clip(c) != render_background(c)).any(0)
               for c in (clip, other)]
    kept = ~touched[0] & ~touched[1]
    assert 0.2 < kept.float().mean() < 0.95
    assert torch.equal(
        render_clip(clip)[:, kept], render_clip(other)[:, kept])


def test_native_clips_are_wide_long_and_of_every_size():
    clips = [sample_native(seed) for seed in TUNE_SEEDS[:40]]
    assert {clip.shape for clip in clips} == {(288, 512)}
    assert len({clip.frames for clip in clips}) > 8
    assert all(clip.frames in FRAMES for clip in clips)
    assert clips[0] == sample_native(TUNE_SEEDS[0]) != clips[1]
    shares = []
    for clip in clips:
        # Nothing in front of it, so that all of it counts.
        alone = replace(clip, scene=ALONE, size=36, width=64, frames=9)
        mask = visible_mask(alone)
        shares.append(mask.mean().item())
        whole = clip.motion.middle.size ** 2 * area(clip.product.shape) / (
            4 * 16 / 9)
        middle = mask[4].mean().item()
        assert middle == pytest.approx(whole, rel=0.05)
    assert min(shares) > 1 / 20 and max(shares) < 1 / 3
    small = sum(share < 1 / 8 for share in shares)
    assert 10 < small < 30
    across = sum(abs(clip.motion.dx) > 0.8 for clip in clips)
    assert 4 < across < 20
    assert any(not clip.motion.dx and not clip.motion.dy for clip in clips)


def test_native_pairs_are_pairs_of_native_clips():
    pair = make_native_pair(2, TEST_SEEDS, 72, 5)
    assert pair == make_native_pair(2, TEST_SEEDS, 72, 5)
    assert pair.clip == sample_native(TEST_SEEDS[2], 72, 5)
    assert pair.truth == swap(pair.clip, pair.product)
    assert not set(pair.product.colours) & set(pair.clip.product.colours)


def test_a_native_clip_is_written_with_sound(tmp_path):
    path = tmp_path / 'native.mp4'
    clip = write_native(path, 5, 72, 12)
    info = probe(path)
    assert (info.width, info.height) == clip.shape[::-1] == (128, 72)
    assert info.fps == FPS and info.frames == 12
    assert info.audio_codec == 'aac'
