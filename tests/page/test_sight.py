r"""What a task is shown before anybody waits; no weights are read."""
import pytest

from tests.cli import hollow
from tests.images import TYPES
from tests.page.edits import EXAMPLES, PHOTOS

pytest.importorskip(
    'gradio.blocks', reason='the page needs gradio (extra ui)')

from wan.page import app, sight
from wan.page.task_tab import lacking

WORDS = {'prompt': 'a red bag.'}


@pytest.fixture(scope='module')
def shell(checkpoints, tmp_path_factory):
    r"""Gives a checkpoint of a type, whose weights cannot be read."""

    def made(kind):
        folder = tmp_path_factory.mktemp('shells') / kind
        return str(hollow(checkpoints(kind), folder))

    return made


def test_text_alone_has_facts_and_no_picture(tmp_path):
    job = sight.prepared('t2v-tiny', WORDS, tmp_path, None)
    assert sight.pictures(job) == []
    text = sight.look(job)
    for part in ('128 × 128 pixels, 17 frames', '25 steps', 'peak memory'):
        assert part in text
    assert not list(tmp_path.iterdir())


def test_an_image_is_shown_as_the_model_gets_it(shell, tmp_path):
    job = sight.prepared('i2v-14B', {
        **WORDS, 'image': str(PHOTOS[0]), 'size': '832*480',
        'frame_num': 5}, tmp_path, shell(TYPES['i2v-14B']))
    (name, picture), = sight.pictures(job)
    assert name == 'The image, as the model gets it'
    assert picture.size == job.work.size


def test_a_video_is_shown_with_what_is_made_anew(shell, tmp_path):
    folder = shell('vace')
    job = sight.prepared('vace-1.3B', {
        **WORDS, 'src_video': str(EXAMPLES / 'template.mp4'),
        'src_mask': str(EXAMPLES / 'template_mask.mp4'),
        'src_ref_images': [str(PHOTOS[0])], 'size': '832*480'}, tmp_path,
        folder)
    (video, masked), (image, _) = sight.pictures(job)
    assert 'green' in video and image == 'Image 1, as the model gets it'
    assert masked.size == job.work.size
    assert 'data:image/webp' in sight.look(job)


def test_what_is_missing_is_one_sentence(shell, tmp_path):
    with pytest.raises(ValueError, match='image is missing'):
        sight.prepared('i2v-14B', WORDS, tmp_path, shell(TYPES['i2v-14B']))


def test_a_checkpoint_runs_the_tasks_of_its_shape(shell):
    r"""A small network is none of the official ones."""
    checkpoint = app.checkpoint_of(shell('vace'))
    assert 'vace' in lacking('vace-14B', checkpoint)
    assert 't2v' in lacking('t2v-14B', checkpoint)
