r"""Segmenters with tiny random networks: what reaches them, what comes out."""
import json
import socket

import pytest
import torch
import transformers

from tests.product.segmenters import tiny
from wan.product.hint import Hint
from wan.product.segmenters import SEGMENTERS, WORDED, open_segmenter, worded
from wan.product.segmenters.grounded import _agreement
from wan.product.segmenters.tracking import _prompt

MAKE = {'sam2': tiny.sam2, 'edgetam': tiny.edgetam, 'sam3': tiny.sam3,
        'clipseg': tiny.clipseg}
CLASSES = {
    'sam2': 'Sam2VideoModel', 'edgetam': 'EdgeTamVideoModel',
    'sam3': 'Sam3Model', 'clipseg': 'CLIPSegForImageSegmentation',
    'grounded-sam2': 'GroundingDinoForObjectDetection'}
FRAMES, HEIGHT, WIDTH = 3, 48, 80
BOX, POINT = Hint(10, 8, 40, 20, 1), Hint(20, 30, frame=2)


@pytest.fixture(autouse=True)
def _nothing_is_fetched(monkeypatch):
    def refuse(*_):
        raise AssertionError('A test of the segmenters used the network.')

    monkeypatch.setattr(socket.socket, 'connect', refuse)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    r"""By method, made when asked for."""
    made = {}

    def of(method):
        if not hasattr(transformers, CLASSES[method]):
            pytest.skip(f'transformers {transformers.__version__} has no '
                        f'{CLASSES[method]}')
        if method not in made:
            made[method] = folder = tmp_path_factory.mktemp(method)
            if method == 'grounded-sam2':
                tiny.dino(folder / 'detector')
                tiny.sam2(folder / 'tracker')
            else:
                MAKE[method](folder)
        return made[method]

    return of


def video():
    generator = torch.Generator().manual_seed(3)
    return 2 * torch.rand(3, FRAMES, HEIGHT, WIDTH, generator=generator) - 1


def watched(monkeypatch, method):
    r"""What a network's forward is given."""
    kind, seen = getattr(transformers, CLASSES[method]), []
    plain = kind.forward

    def forward(self, *args, **kwargs):
        seen.append(kwargs)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(kind, 'forward', forward)
    return seen


def is_mask(mask):
    return mask.shape == (FRAMES, HEIGHT, WIDTH) \
        and mask.device.type == 'cpu' and mask.dtype == torch.float32 \
        and bool(((mask == 0) | (mask == 1)).all())


@pytest.mark.parametrize('method', ['sam2', 'edgetam'])
def test_a_tracker_follows_a_box_or_a_point(folders, method, monkeypatch):
    segmenter = open_segmenter(method, str(folders(method)))
    assert segmenter.needs_place
    seen = watched(monkeypatch, method)
    masks = {}
    for name, hint in (('box', BOX), ('point', POINT)):
        seen.clear()
        masks[name] = segmenter.mask(video(), '', hint)
        assert is_mask(masks[name])
        frames = [kwargs['frame_idx'] for kwargs in seen]
        assert frames[0] == hint.frame and set(frames) == {0, 1, 2}
    assert not torch.equal(masks['box'], masks['point'])
    again = segmenter.mask(video(), 'words say nothing', BOX)
    assert torch.equal(again, masks['box'])


def test_prompts_are_on_the_networks_grid():
    told = _prompt(BOX, (128 / WIDTH, 128 / HEIGHT))
    assert told['point_labels'].tolist() == [[[2, 3]]]
    want = torch.tensor([[10 * 1.6, 8 * 8 / 3], [50 * 1.6, 28 * 8 / 3]])
    assert (told['point_coords'] - want).abs().max() < 1e-4
    told = _prompt(POINT, (2., 2.))
    assert told['point_labels'].tolist() == [[[1]]]
    assert told['point_coords'].tolist() == [[[[40., 60.]]]]


def test_sam3_sees_frames_and_words(folders, monkeypatch):
    segmenter = open_segmenter('sam3', str(folders('sam3')))
    assert not segmenter.needs_place
    seen = watched(monkeypatch, 'sam3')
    assert segmenter.mask(video(), 'a red watch', None) is None  # unsure
    assert len(seen) == FRAMES
    for kwargs in seen:
        assert kwargs['pixel_values'].shape == (1, 3, 112, 112)
        assert kwargs['pixel_values'].abs().max() <= 1  # mean, deviation .5
        assert kwargs['input_ids'].shape == (1, worded.TOKENS)
        assert kwargs['input_ids'][0, :4].tolist() == [5, 6, 7, 0]
        assert kwargs['attention_mask'].sum() == 3
    monkeypatch.setattr(worded, 'SCORE', 0.)
    everything = segmenter.mask(video(), 'watch', None)
    assert is_mask(everything)
    # A hint keeps what hangs together with it.
    one = segmenter.mask(video(), 'watch', BOX)
    assert one is None or not (one > everything).any()


def test_clipseg_sees_frames_and_words(folders, monkeypatch):
    segmenter = open_segmenter('clipseg', str(folders('clipseg')))
    assert not segmenter.needs_place
    seen = watched(monkeypatch, 'clipseg')
    mask = segmenter.mask(video(), 'cup', None)
    assert mask is None or is_mask(mask)
    assert [tuple(k['pixel_values'].shape) for k in seen] == [
        (FRAMES, 3, tiny.SIDE, tiny.SIDE)]
    assert (seen[0]['input_ids'] == 8).all()
    hinted = segmenter.mask(video(), 'cup', BOX)
    assert is_mask(hinted)
    assert not hinted[1, :, 60:].any()  # outside of the box


def test_grounded_boxes_are_followed(folders, monkeypatch):
    segmenter = open_segmenter(
        'grounded-sam2', str(folders('grounded-sam2')))
    seen = watched(monkeypatch, 'grounded-sam2')
    followed = []
    monkeypatch.setattr(
        type(segmenter.tracker), 'mask',
        lambda self, video, words, hint: followed.append(hint))
    segmenter.mask(video(), 'Red watch.', None)
    assert len(seen) == FRAMES
    assert seen[0]['pixel_values'].shape == (1, 3, 800, 1333)
    assert seen[0]['input_ids'].tolist() == [[6, 7, 4]]  # ends in a stop
    assert followed[0].width > 0
    seen.clear()
    segmenter.mask(video(), 'watch', BOX)
    assert len(seen) == 1 and followed[1].frame == BOX.frame


def test_the_box_at_the_hint_is_taken():
    assert _agreement(BOX, BOX) == 1
    assert _agreement(BOX, Hint(30, 8, 40, 20)) == pytest.approx(1 / 3)
    assert _agreement(BOX, Hint(60, 8, 10, 10)) == 0
    assert _agreement(BOX, Hint(20, 10)) == 1
    assert _agreement(BOX, Hint(70, 10)) == 0


def refused(method, folder):
    with pytest.raises(ValueError) as error:
        open_segmenter(method, str(folder))
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('method', SEGMENTERS)
def test_a_missing_folder(method, tmp_path):
    told = refused(method, tmp_path / 'none')
    assert told.startswith(f'mask_method {method} needs ')
    assert 'mask_model' in told and told.endswith('none is none.')


def test_a_folder_of_another_network(folders):
    assert 'model_type edgetam_video; that of' in refused(
        'edgetam', folders('sam2'))
    assert 'has none whose config.json has the model_type grounding-dino' \
        in refused('grounded-sam2', folders('sam2').parent)


def test_pickled_weights_are_not_read(tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps(
        {'model_type': 'sam2_video'}))
    (tmp_path / 'pytorch_model.bin').write_bytes(b'never read')
    assert 'pickled ones are not read' in refused('sam2', tmp_path)


def test_words_need_a_tokenizer(tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps(
        {'model_type': 'clipseg'}))
    (tmp_path / 'model.safetensors').touch()
    assert 'has no tokenizer.json' in refused('clipseg', tmp_path)


def test_a_class_that_transformers_lacks(folders, monkeypatch):
    folder = folders('sam2')
    network = SEGMENTERS['sam2'][1]._replace(name='Sam9VideoModel')
    monkeypatch.setitem(
        SEGMENTERS, 'sam2', (SEGMENTERS['sam2'][0], network))
    assert f'Sam9VideoModel, which transformers {transformers.__version__} ' \
        f'lacks' in refused('sam2', folder)


def test_a_broken_file_is_told_when_it_is_read(folders, tmp_path):
    config = folders('sam2') / 'config.json'
    (tmp_path / 'config.json').write_text(config.read_text())
    (tmp_path / 'model.safetensors').write_bytes(b'no weights')
    segmenter = open_segmenter('sam2', str(tmp_path))
    with pytest.raises(ValueError, match='cannot be read'):
        segmenter.mask(video(), '', BOX)


def test_missing_weights_are_not_made_up(folders, tmp_path):
    from safetensors.torch import load_file, save_file
    folder = folders('sam2')
    weights = load_file(folder / 'model.safetensors')
    weights.pop(sorted(weights)[0])
    save_file(weights, tmp_path / 'model.safetensors', {'format': 'pt'})
    (tmp_path / 'config.json').write_text(
        (folder / 'config.json').read_text())
    with pytest.raises(ValueError, match='lacks weights of Sam2VideoModel'):
        open_segmenter('sam2', str(tmp_path)).mask(video(), '', BOX)


def test_which_look_for_words():
    assert set(WORDED) == set(SEGMENTERS) - {'sam2', 'edgetam'}
