r"""The wrong-photo check: whether anything of the photo arrives."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import generate
from tests.cli import frames, prepared, result, share_pipelines
from tests.edits import edit_flags
from wan.jobs.edit_check import (
    LEAST,
    effect_notes,
    photo_effect,
    recoloured,
)
from wan.product.photo import Product
from wan.pvtt import WanPVTT

PIPELINES = {}


def photo(colour, ground='white'):
    image = Image.new('RGB', (32, 32), ground)
    image.paste(colour, (8, 8, 24, 24))
    mask = Image.new('L', (32, 32))
    mask.paste(255, (8, 8, 24, 24))
    return Product(image, mask)


@pytest.mark.parametrize('colour', (
    'red', 'grey', 'black', 'white', (127, 127, 127), (128, 128, 128)))
def test_another_photo_has_surely_other_colours(colour):
    r"""By half of the range in each channel, the ground as it was."""
    before = photo(colour)
    after = recoloured(before)
    assert torch.equal(after.alpha, before.alpha)
    difference = np.asarray(after.photo, int) - np.asarray(before.photo, int)
    inside = before.alpha.numpy() > 0.5
    assert (abs(difference[inside]) >= 127).all()
    assert (difference[~inside] == 0).all()


def results(shift, mask=None):
    video = torch.zeros(3, 5, 8, 8)
    other = video.clone()
    other[..., :4] += shift
    return (SimpleNamespace(video=video, mask=mask),
            SimpleNamespace(video=other, mask=mask))


def test_the_effect_is_the_mean_difference_inside():
    left, right = torch.zeros(5, 8, 8), torch.zeros(5, 8, 8)
    left[..., :4], right[..., 4:] = 1, 1
    assert photo_effect(*results(0.5, left)) == pytest.approx(0.25)
    assert photo_effect(*results(0.5, right)) == 0
    assert photo_effect(*results(0.5)) == pytest.approx(0.125)
    assert photo_effect(*results(2.0, left)) == pytest.approx(1)


def test_less_than_two_levels_is_told():
    assert effect_notes(LEAST) == ()
    note, = effect_notes(0.001)
    assert 'differs by 0.0010' in note and 'nothing of the photo' in note


@pytest.mark.parametrize(('flags', 'arrives'), [
    (('--ref_c', '0.9'), True),
    (('--ref_c', '0', '--collage_zeta_scale', '0'), False)])
@pytest.mark.parametrize('output', ('native', 'model'))
def test_an_edit_is_checked(
        checkpoint, media, tmp_path, monkeypatch, flags, arrives, output):
    share_pipelines(monkeypatch, PIPELINES)
    seeds = []

    def editing(self, *args, original=WanPVTT.editing, **given):
        seeds.append(given['seed'])
        return original(self, *args, **given)

    monkeypatch.setattr(WanPVTT, 'editing', editing)

    def edited(name, *more):
        path = tmp_path / name
        return path, result(generate.main(edit_flags(
            checkpoint, media, path, '--output', output, '--frame_num', 5,
            *flags, *more)), path)['results']

    path, checked = edited('a.mp4', '--check_photo')
    assert seeds == [1, 1]
    effect = checked['photo_effect']
    assert (effect > 0) == arrives
    assert any('nothing of the photo' in note for note in checked['notes']) \
        == (effect < LEAST)
    plain, unchecked = edited('b.mp4')
    assert 'photo_effect' not in unchecked
    assert torch.equal(*map(frames, (path, plain)))


def test_the_plan_has_the_second_edit(shell, media, tmp_path):
    def stages(*more):
        return prepared(*edit_flags(
            shell, media, tmp_path / 'a.mp4', *more)).work

    once, twice = stages(), stages('--check_photo')
    assert once.stages.count('edit') == 1
    assert twice.stages.count('edit') == twice.stages.count('decode') == 2
    assert twice.stages.count('capture the reference') == 2
    none = stages('--check_photo', '--use_reference', 'false')
    assert none.stages.count('edit') == 1
    assert any('check_photo' in note and 'no effect: use_reference' in note
               for note in none.notes)
