r"""The embedded model: what runs without --ckpt_dir, and its defaults."""
from pathlib import Path

import pytest

import generate
import run_experiments
from tests.cli import failure, hollow, nothing_changes, prepared, result
from wan.configs import WAN_CONFIGS
from wan.edit_config import EditConfig
from wan.jobs import checkpoint as job_checkpoint
from wan.jobs.checkpoint import EMBEDDED, Checkpoint
from wan.jobs.text import TextSettings
from wan.utils.video import probe

ROOT = Path(__file__).parent.parent
TINY = WAN_CONFIGS['t2v-tiny']
EDIT = (
    '--task', 'pvtt', '--src_video', str(ROOT / 'examples/template.mp4'),
    '--target_image', str(ROOT / 'examples/product.png'), '--source_prompt',
    'a heart.', '--target_prompt', 'a dotted heart.')
TEXT = ('--task', 't2v-tiny')


@pytest.fixture
def embedded(checkpoint, monkeypatch):
    r"""Random weights in the place of the embedded model."""
    monkeypatch.setattr(job_checkpoint, 'EMBEDDED', checkpoint)
    return checkpoint


@pytest.fixture
def missing(tmp_path, monkeypatch):
    folder = tmp_path / 'checkpoints' / 'tiny'
    monkeypatch.setattr(job_checkpoint, 'EMBEDDED', folder)
    return folder


@pytest.mark.parametrize('flags', (TEXT, EDIT), ids=('t2v-tiny', 'pvtt'))
def test_it_is_used_without_ckpt_dir(embedded, tmp_path, caplog, flags):
    caplog.set_level('INFO')
    path = tmp_path / 'x.mp4'
    record = result(generate.main([
        *flags, '--sample_steps', '2', '--frame_num', '1', '--save_file',
        str(path)]), path)
    assert record['arguments']['ckpt_dir'] == str(embedded)
    said = [m for m in caplog.messages if 'embedded' in m]
    assert said == [
        f'ckpt_dir is not given: the small embedded model in {embedded} is '
        f'used.']
    assert said[0] in record['results']['notes']
    assert probe(path).width == 128


@pytest.mark.parametrize('flags', (TEXT, EDIT), ids=('t2v-tiny', 'pvtt'))
def test_a_given_folder_goes_before(missing, checkpoint, tmp_path, flags):
    folder = hollow(checkpoint, tmp_path / 'other')
    job = prepared(*flags, '--ckpt_dir', folder)
    assert job.checkpoint.folder == folder
    assert not any('embedded' in note for note in job.work.notes)


@pytest.mark.parametrize('flags', (TEXT, EDIT), ids=('t2v-tiny', 'pvtt'))
def test_a_missing_folder_is_said(missing, tmp_path, capsys, flags):
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, flags)
    assert said == (
        f'ckpt_dir is missing, and the embedded model is not at {missing}: '
        f'it comes with a clone of the repository, not with an installed '
        f'package.')


@pytest.mark.parametrize('task', ('t2v-14B', 't2v-1.3B', 't2i-14B'))
def test_other_tasks_need_their_own_weights(embedded, capsys, task):
    said = failure(capsys, 2, ('--task', task))
    assert said.startswith('ckpt_dir is missing: the folder of the weights')


def test_text_alone_is_enough(embedded):
    job = prepared(*TEXT)
    text, own = job.settings[TextSettings], TINY.defaults
    assert text.prompt == own['prompt']
    assert job.work.size == (128, 128)
    assert (job.work.frame_num, job.work.steps) == (17, own['sample_steps'])
    assert text.sample_guide_scale == own['sample_guide_scale']
    assert text.sample_shift == 5.0  # of the task


def test_template_photo_and_prompts_are_enough(embedded):
    job = prepared(*EDIT)
    assert job.work.frame_num == 17 and job.work.size == (128, 128)
    assert len(job.work.data.shot.frames) == 17
    assert len(job.work.notes) == 1  # on the embedded model
    edit = job.settings[EditConfig]
    assert edit.sample_steps == TINY.defaults['sample_steps']
    assert edit.sample_guide_scale == TINY.defaults['edit_guide_scales'][
        'flowalign']


def test_flags_go_before_what_the_model_likes(embedded):
    job = prepared(*TEXT, '--frame_num', 5, '--sample_steps', 3, '--prompt',
                   'a disc.')
    assert (job.work.frame_num, job.work.steps) == (5, 3)
    assert job.settings[TextSettings].prompt == 'a disc.'
    assert prepared(*EDIT, '--sample_steps', 3).settings[
        EditConfig].sample_steps == 3


def test_experiments_do_without_ckpt_dir_too(embedded, tmp_path, capsys):
    assert run_experiments.main([
        str(ROOT / 'configs/pvtt/demo.yaml'), '--out', str(tmp_path / 'out'),
        '--dry_run']) == 0
    assert capsys.readouterr().out.startswith('demo: waiting')


@pytest.mark.skipif(not EMBEDDED.is_dir(), reason='no embedded model yet')
def test_the_shipped_model_has_the_configs_sizes():
    checkpoint = Checkpoint.read(EMBEDDED, 'pvtt', ('t2v',))
    assert checkpoint.config is TINY and checkpoint.sizes == ('128*128',)
    model = checkpoint.model
    for name in ('text_len', 'dim', 'ffn_dim', 'freq_dim', 'num_heads',
                 'num_layers', 'eps'):
        assert model.config[name] == TINY[name], name
    assert tuple(model.patch_size) == TINY.patch_size
