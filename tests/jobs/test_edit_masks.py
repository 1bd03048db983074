r"""How the product is found: settings, refusals and notes of an edit."""
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.cli import failure, nothing_changes, prepared
from tests.edits import draw, edit_flags
from tests.product.segmenters import tiny
from tests.utils.media import make_clip
from wan.jobs.edit_masks import BUILT_IN, OTHERS, WORDED, CutoutConfig
from wan.product import segmenters
from wan.product.finding import AUTO
from wan.product.hint import Hint
from wan.product.photo import PLAIN, Product


@pytest.fixture
def read(shell, media):
    r"""The work a command line makes, without the model; no mask given."""

    def run(*more):
        return prepared(*edit_flags(
            shell, media, media / 'x.mp4', '--src_mask', '',
            '--frame_num', 5, *more)).work

    return run


def test_the_names_are_those_of_the_segmenters():
    assert set(OTHERS) == set(segmenters.SEGMENTERS)
    assert WORDED == segmenters.WORDED and not {*BUILT_IN} & {*OTHERS}


@pytest.mark.parametrize('given, told', [
    ((), AUTO),
    (('--src_box', '16,32,48,40'), Hint(16, 32, 48, 40)),
    (('--src_box', '16,32,48,40@3'), Hint(16, 32, 48, 40, 3)),
    (('--src_point', '100.5,7'), Hint(100.5, 7)),
])
def test_hints_are_in_pixels_of_the_clip(read, given, told):
    finding = read(*given).data.finding
    assert finding == told or finding.hint == told
    assert finding.segmenter is None


def test_a_hint_is_mapped_to_the_size_and_the_rate(read, tmp_path):
    r"""A template of 192x256 at 32 frames a second, cut to its middle."""
    clip = make_clip(tmp_path / 'tall.mp4',
                     source='testsrc=s=192x256:r=32:d=1')
    flags = ('--src_video', clip, '--size', '128*128')
    hint = read(*flags, '--src_box', '30,62,48,60@6').data.finding.hint
    assert hint == Hint(20, 20, 32, 40, 3)
    hint = read(*flags, '--fit', 'pad', '--src_point', '0,0').data.finding.hint
    assert (hint.x, hint.y) == (16, 0)


@pytest.mark.parametrize('bad, told', [
    (('--src_box', '1,2,3'), "src_box is '1,2,3', expected x,y,width,height"),
    (('--src_box', '100,0,40,10'), 'src_box is 100,0,40,10, which does not '
     'lie in the template of 128x128.'),
    (('--src_point', '1,1@5'), 'src_point is of frame 5, but of the template '
     '5 frames are edited, 0 to 4.'),
    (('--src_point', '1,1', '--src_box', '1,1,2,2'), 'give one of them'),
    (('--mask_method', 'magic'), "invalid choice: 'magic'"),
    (('--mask_method', 'words'), 'words needs source_blend or target_blend'),
    (('--mask_method', 'sam2'), 'sam2 needs mask_model, the folder of its'),
    (('--mask_method', 'sam2', '--mask_model', 'nowhere'),
     'the folder of its weights; nowhere is none.'),
    (('--mask_method', 'sam3', '--mask_model', 'x'), 'needs source_blend'),
    (('--mask_method', 'clipseg', '--mask_model', 'x', '--target_blend',
      'watch'), 'clipseg looks for words and needs source_blend'),
    (('--photo_cutout', 'rembg'), 'photo_cutout rembg needs cutout_model'),
    (('--photo_cutout', 'best'), "invalid choice: 'best'"),
    (('--cutout_model', 'u2net.pth'), 'cutout_model u2net.pth is not an '
     'existing .onnx file'),
])
def test_refusals(shell, media, tmp_path, capsys, bad, told):
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, edit_flags(
            shell, media, tmp_path / 'x.mp4', '--src_mask', '',
            '--frame_num', 5, *bad))
    assert told in said


def test_what_is_cut_off_is_refused(shell, media, tmp_path, capsys):
    clip = make_clip(tmp_path / 'wide.mp4',
                     source='testsrc=s=256x128:r=16:d=0.5')
    assert 'src_point lies in what fit crop cuts off' in failure(
        capsys, 2, edit_flags(
            shell, media, tmp_path / 'x.mp4', '--src_mask', '', '--src_video',
            clip, '--size', '128*128', '--src_point', '3,3'))


@pytest.mark.parametrize('given, told', [
    (('--src_mask', 'MASK', '--src_box', '1,1,9,9', '--mask_method',
      'velocity'), 'mask_method, src_box have no effect: src_mask says'),
    (('--use_mask', 'false', '--src_point', '1,1'),
     'src_point has no effect: use_mask is false.'),
    (('--mask_model', 'x'), 'mask_model has no effect: only sam2, edgetam'),
    (('--mask_method', 'velocity', '--source_blend', 'vase',
      '--target_blend', 'watch'), 'source_blend has no effect: this'),
    (('--photo_cutout', 'plain', '--cutout_model', 'x.onnx'),
     'cutout_model has no effect: photo_cutout plain'),
    (('--use_reference', 'false', '--target_image', '', '--photo_cutout',
      'plain'), 'photo_cutout has no effect: use_reference is false.'),
])
def test_idle_settings_are_told(read, media, given, told):
    given = [media / 'box.png' if g == 'MASK' else g for g in given]
    assert any(told in note for note in read(*given).notes)


def test_words_and_velocity_choose_the_evidence(read):
    named = ('--source_blend', 'vase')
    assert read(*named).data.finding.use_words
    assert read(*named, '--mask_method', 'words').data.finding.use_words
    assert not read(
        *named, '--mask_method', 'velocity').data.finding.use_words


def test_a_segmenter_is_checked_and_not_yet_read(read, tmp_path, monkeypatch):
    tiny.sam2(tmp_path)
    monkeypatch.setattr(
        segmenters.folder.ModelFolder, 'load',
        lambda *_: pytest.fail('weights were read'))
    finding = read('--mask_method', 'sam2', '--mask_model', tmp_path,
                   '--source_blend', 'vase').data.finding
    assert finding.segmenter.folder.path == tmp_path
    assert finding.asks_model and finding.use_words


def given_mask(path, *columns):
    r"""A mask video whose square stands at these columns."""
    path.mkdir()
    for number, column in enumerate(columns):
        mask = np.zeros((128, 128), np.uint8)
        mask[40:70, column:column + 30] = 255
        Image.fromarray(mask).save(path / f'{number:02}.png')
    return path


def test_a_doubtful_given_mask_is_told_in_the_plan(read, tmp_path):
    notes = read('--src_mask', given_mask(
        tmp_path / 'jumps', 0, 4, 90, 90, 90)).notes
    assert any(note.startswith('src_mask jumps, or is empty, at 1 of the')
               for note in notes)
    Image.new('L', (128, 128), 'white').save(tmp_path / 'all.png')
    notes = read('--src_mask', tmp_path / 'all.png').notes
    assert any(note.startswith('src_mask covers more than half of the '
                               'picture') for note in notes)
    notes = read('--src_mask', given_mask(
        tmp_path / 'steady', 0, 4, 8, 12, 16)).notes
    assert not any('src_mask' in note for note in notes)


# photos


def stub_rembg(monkeypatch):
    r"""In place of rembg: a class that would fetch, and what it was told."""
    told = []

    class Usual:
        def __init__(self, name, options, *args, **kwargs):
            told.append((name, self.download_models()))

        @classmethod
        def name(cls):
            return 'u2net_custom'

        @classmethod
        def download_models(cls, *args, **kwargs):
            raise AssertionError('rembg fetches a model')

        def predict(self, photo):
            red = np.array(photo)[..., 0]
            return [Image.fromarray(np.where(red > 150, 255, 0).astype('u1'))]

    class Portrait(Usual):
        @classmethod
        def name(cls):
            return 'birefnet-portrait'

    sessions = ModuleType('rembg.sessions')
    sessions.sessions_class = [Usual, Portrait]
    package = ModuleType('rembg')
    package.sessions = sessions
    runtime = ModuleType('onnxruntime')
    runtime.SessionOptions = SimpleNamespace
    for module in (package, sessions, runtime):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return told


def photo_on_noise():
    r"""A red ellipse on what no plain ground looks like."""
    noise = np.random.default_rng(0).integers(0, 140, (48, 64, 3), 'u1')
    photo, shape = Image.fromarray(noise), draw('L', ground=0, colour=255)
    photo.paste((250, 30, 30), mask=shape)
    return photo, np.array(shape) / 255


def test_rembg_is_given_the_file(monkeypatch, tmp_path):
    told = stub_rembg(monkeypatch)
    photo, truth = photo_on_noise()
    assert Product(photo, None, PLAIN).note
    for name, kind in (('mine', 'u2net_custom'),
                       ('birefnet-portrait', 'birefnet-portrait')):
        file = tmp_path / f'{name}.onnx'
        file.touch()
        for method, count in (('auto', 2), ('rembg', 1)):
            finders = CutoutConfig(method, str(file)).finders()
            assert len(finders) == count
            product = Product(photo, None, finders)
            assert product.note is None
            assert (product.alpha.numpy() == truth).all()
            assert told.pop() == (kind, str(file.resolve()))


def test_alpha_mask_and_plain_ground_come_first(monkeypatch, tmp_path):
    told = stub_rembg(monkeypatch)
    file = tmp_path / 'mine.onnx'
    file.touch()
    finders = CutoutConfig('auto', str(file)).finders()
    Product(draw(), None, finders)
    Product(draw('RGBA', ground=(0, 0, 0, 0)), None, finders)
    Product(draw(), draw('L', ground=0, colour=255), finders)
    assert not told
    assert CutoutConfig().finders() is PLAIN
    assert CutoutConfig('plain', str(file)).finders() is PLAIN


def test_rembg_is_an_extra(monkeypatch, tmp_path):
    file = tmp_path / 'mine.onnx'
    file.touch()
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ValueError, match='needs rembg and onnxruntime: pip'):
        CutoutConfig('rembg', str(file)).finders()


def test_a_file_that_is_no_model_is_told(monkeypatch, tmp_path):
    stub_rembg(monkeypatch)
    sys.modules['onnxruntime'].SessionOptions = lambda: 1 / 0
    file = tmp_path / 'mine.onnx'
    file.touch()
    with pytest.raises(ValueError, match='mine.onnx cannot be run: division'):
        Product(photo_on_noise()[0], None,
                CutoutConfig('rembg', str(file)).finders())
