r"""The judge's readings, against closed forms, and its training stage."""
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from wan.synth import TUNE_SEEDS, render_clip, sample_clip, swap
from wan.synth.judge import (
    LABELS,
    Judge,
    Verdict,
    agreement,
    attributes,
    decide,
)
from wan.synth.scene import Article, Motion
from wan.synth.train import judge as stage
from wan.synth.train.moments import frozen
from wan.training.loop import Schedule
from wan.utils.checkpoint import CheckpointError

PRODUCT = Article('star', 'striped', ('white', 'red'))
CLIP = swap(sample_clip(5), PRODUCT)
TRUTH = attributes(CLIP)


@pytest.fixture
def judge():
    torch.manual_seed(0)
    return Judge().eval()


@pytest.fixture
def small(monkeypatch):
    r"""Few frames a step."""
    monkeypatch.setattr(stage, 'BATCH', 2)
    monkeypatch.setattr(stage, 'HELD_OUT', 2)


def _logits(**liked):
    r"""Logits of the labels: 2 for the liked ones, -1 for the others."""
    return {name: torch.tensor([2.0 if label in liked[name] else -1.0
                                for label in labels])
            for name, labels in LABELS.items()}


def _liked(**changes):
    return {name: value if isinstance(value, tuple) else (value,)
            for name, value in (TRUTH | changes).items()}


def test_truth_names_every_attribute_in_order():
    assert list(TRUTH) == list(LABELS)
    assert (TRUTH['shape'], TRUTH['colour']) == ('star', 'white')
    assert TRUTH['colours'] == ('red', 'white')  # the palette's order


def test_forward_shapes(judge):
    logits = judge(torch.zeros(2, 3, 128, 128))
    assert {name: list(value.shape) for name, value in logits.items()} == {
        name: [2, len(labels)] for name, labels in LABELS.items()}
    assert all(value.dtype == torch.float32 for value in logits.values())
    assert sum(p.numel() for p in judge.parameters()) <= 1_000_000


@pytest.mark.parametrize('shape', [
    (3, 128, 128), (1, 3, 64, 64), (1, 1, 128, 128)])
def test_frames_of_another_shape(judge, shape):
    with pytest.raises(ValueError, match='The judge reads frames'):
        judge(torch.zeros(shape))


@pytest.mark.parametrize('shape', [(3, 128, 128), (3, 0, 128, 128)])
def test_no_frames_to_judge(judge, shape):
    with pytest.raises(ValueError, match='A verdict needs frames'):
        judge.verdicts(torch.zeros(shape))


def test_likeliest_labels():
    verdict = decide(_logits(**_liked()))
    assert {name: getattr(verdict, name) for name in LABELS} == TRUTH
    for name in ('shape', 'pattern', 'colour', 'surface', 'surface_colour'):
        others = (len(LABELS[name]) - 1) * math.exp(-3)
        assert verdict.probabilities[name] == pytest.approx(1 / (1 + others))
    there, absent = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))
    assert verdict.probabilities['colours'] == pytest.approx(
        there ** 2 * absent ** 8)


def test_main_colour_is_one_of_the_colours():
    verdict = decide(_logits(**_liked(colour='blue')))
    assert verdict.colour == 'blue'
    assert verdict.colours == ('red', 'blue', 'white')


def test_agreement():
    right = Verdict(**TRUTH, probabilities={})
    assert agreement(right, CLIP) == dict.fromkeys(LABELS, True)
    wrong = replace(right, colour='red', surface_colour='none such')
    assert agreement(wrong, CLIP) == dict.fromkeys(LABELS, True) | {
        'colour': False, 'surface_colour': False}
    more = replace(right, colours=('red', 'blue', 'white'))
    assert agreement(more, CLIP) == dict.fromkeys(LABELS, True) | {
        'colours': False}


def test_verdict_is_by_the_mean_of_the_logits(judge):
    video = render_clip(sample_clip(3, 128, 2))
    logits = judge(video.transpose(0, 1))
    verdict = judge.verdicts(video)
    assert verdict == decide({k: v.mean(0) for k, v in logits.items()})
    for t in range(2):
        one = judge.verdicts(video[:, t:t + 1])
        assert one.probabilities['shape'] == pytest.approx(
            float(logits['shape'][t].softmax(0).max()))
        assert one.probabilities != verdict.probabilities


def test_saved_and_loaded(judge, tmp_path):
    judge.save(tmp_path / 'judge.safetensors')
    again = Judge.load(tmp_path / 'judge.safetensors')
    for name, value in judge.state_dict().items():
        found = again.state_dict()[name]
        assert found.dtype == torch.float32
        assert torch.equal(found, value.bfloat16().float())
    assert not any(p.requires_grad for p in again.parameters())
    again.save(tmp_path / 'twice.safetensors')
    assert (tmp_path / 'twice.safetensors').read_bytes() == (
        tmp_path / 'judge.safetensors').read_bytes()


def test_weights_that_are_none(tmp_path):
    with pytest.raises(CheckpointError, match='none.safetensors'):
        Judge.load(tmp_path / 'none.safetensors')
    save_file({'x': torch.zeros(1)}, tmp_path / 'other.safetensors')
    with pytest.raises(CheckpointError, match='does not fit'):
        Judge.load(tmp_path / 'other.safetensors')


@pytest.mark.parametrize('strength, limit', [(0.0, 1e-4), (0.8, 0.02)])
def test_frozen_is_the_clip_at_a_moment(strength, limit):
    for seed in range(12):  # without light on the surface, to the pixel
        clip = sample_clip(seed, 64, 3)
        light = replace(clip.scene.light, strength=strength)
        clip = replace(clip, scene=replace(clip.scene, light=light))
        video = render_clip(clip)
        for t, time in enumerate((-0.5, 0.0, 0.5)):
            again = frozen(clip, time)
            assert again.product == clip.product and again.frames == 1
            error = (render_clip(again)[:, 0] - video[:, t]).abs()
            assert error.mean() < limit


def test_frozen_moves_the_camera_away():
    clip = replace(CLIP, motion=Motion(pan_x=0.3, zoom=0.2))
    still = frozen(clip, 0.5)
    assert still.motion.middle.x == pytest.approx(-0.15 * math.exp(0.1))
    assert still.motion.middle.size == pytest.approx(0.45 * math.exp(0.1))
    assert still.motion == Motion(still.motion.middle)


def test_batch_is_the_steps_own(small):
    frames, targets = stage.batch(3)
    again, same = stage.batch(3)
    assert torch.equal(frames, again)
    assert all(torch.equal(targets[name], same[name]) for name in LABELS)
    assert not torch.equal(frames, stage.batch(4)[0])
    for i, seed in enumerate((6, 7)):
        truth = attributes(sample_clip(seed))
        there = zip(LABELS['colours'], targets['colours'][i], strict=True)
        assert truth['colours'] == tuple(c for c, is_there in there if is_there)
        for name in set(LABELS) - {'colours'}:
            assert LABELS[name][targets[name][i]] == truth[name]


def test_degraded_frames():
    clips, frames = stage.draw_frames(range(8))
    assert len(clips) == 8 and frames.shape == (8, 3, 128, 128)
    seen = stage.degrade(frames, torch.Generator().manual_seed(1))
    same = stage.degrade(frames, torch.Generator().manual_seed(1))
    assert torch.equal(seen, same)
    assert seen.abs().max() <= 1
    errors = (seen - frames).abs().mean((1, 2, 3))
    assert 0 < (errors == 0).sum() < 8 and errors.max() < 0.25


def test_blur_is_gaussian():
    frames = torch.zeros(2, 3, 33, 33)
    frames[:, :, 16, 16] = 1
    seen = stage.blurred(frames, torch.tensor([[1.0], [0.01]]))
    places = torch.arange(33) - 16.0
    spread = (seen[0, 0] * places.square()).sum()
    assert seen[0].sum((1, 2)).tolist() == pytest.approx([1] * 3)
    assert spread == pytest.approx(1, rel=0.05)
    assert torch.allclose(seen[1], frames[1])


def test_blind_guesses_cost_one(small):
    _, targets = stage.batch(0)
    blind = {name: torch.zeros(2, len(labels))
             for name, labels in LABELS.items()}
    found = stage.losses(blind, targets)
    assert list(found) == list(LABELS)
    assert [float(v) for v in found.values()] == pytest.approx([1] * 6)


def test_accuracy_counts_verdicts(judge):
    clips, frames = stage.draw_frames(TUNE_SEEDS[:3])
    found = [agreement(judge.verdicts(frame[:, None]), clip)
             for clip, frame in zip(clips, frames, strict=True)]
    assert stage.accuracy(judge, clips, frames) == {
        name: pytest.approx(sum(each[name] for each in found) / 3)
        for name in LABELS}


def test_training_stops_and_goes_on(small, tmp_path):
    schedule = Schedule(steps=3, rate=1e-3, warmup=1)

    def train(name, minutes=None):
        with torch.enable_grad():
            return stage.train_judge(
                tmp_path / name, tmp_path / name / 'checkpoints' / 'tiny',
                minutes, schedule=schedule)

    assert train('whole')
    written = [tmp_path / name / 'checkpoints' / 'judge.safetensors'
               for name in ('whole', 'parts')]
    assert not train('parts', 1e-9) and not train('parts', 1e-9)
    assert not written[1].exists()
    assert train('parts')
    assert written[0].read_bytes() == written[1].read_bytes()
    Judge.load(written[0])
