r"""The embedded model: what runs without --ckpt_dir, and its defaults."""
from pathlib import Path

import pytest

import generate
import run_experiments
from tests.cli import failure, hollow, nothing_changes, result
from wan.configs import WAN_CONFIGS
from wan.edit_config import GUIDE_SCALES
from wan.jobs import checks
from wan.jobs.checks import EMBEDDED, read_model
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
    monkeypatch.setattr(checks, 'EMBEDDED', checkpoint)
    return checkpoint


@pytest.fixture
def missing(tmp_path, monkeypatch):
    folder = tmp_path / 'checkpoints' / 'tiny'
    monkeypatch.setattr(checks, 'EMBEDDED', folder)
    return folder


def prepared(*flags):
    return generate.tasks.prepare(generate.parse_args([*map(str, flags)]))


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
        f'No --ckpt_dir given, using the small embedded model in {embedded}; '
        f'official weights come with --ckpt_dir.']
    assert probe(path).width == 128


@pytest.mark.parametrize('flags', (TEXT, EDIT), ids=('t2v-tiny', 'pvtt'))
def test_a_given_folder_goes_before(
        missing, checkpoint, tmp_path, caplog, flags):
    caplog.set_level('INFO')
    folder = hollow(checkpoint, tmp_path / 'other')
    job = prepared(*flags, '--ckpt_dir', folder)
    assert job.args.ckpt_dir == str(folder)
    assert not any('embedded' in m for m in caplog.messages)


@pytest.mark.parametrize('flags', (TEXT, EDIT), ids=('t2v-tiny', 'pvtt'))
def test_a_missing_folder_is_said(missing, tmp_path, capsys, flags):
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, flags)
    assert said == (
        f'--ckpt_dir is missing, and the embedded model is not at {missing}: '
        f'it comes with a clone of the repository, not with an installed '
        f'package.')


@pytest.mark.parametrize('task', ('t2v-14B', 't2v-1.3B', 't2i-14B'))
def test_other_tasks_need_their_own_weights(embedded, capsys, task):
    said = failure(capsys, 2, ('--task', task))
    assert said.startswith('--ckpt_dir is missing: the folder of the weights')


def test_text_alone_is_enough(embedded):
    job = prepared(*TEXT)
    own = TINY.defaults['t2v']
    assert job.args.prompt == own['prompt']
    assert job.size == (128, 128)
    assert job.frame_num == 17
    assert job.steps == own['sample_steps']
    assert job.args.sample_guide_scale == own['sample_guide_scale']
    assert job.args.sample_shift == 5.0  # of the task


def test_template_photo_and_prompts_are_enough(embedded):
    job = prepared(*EDIT)
    assert job.inputs.clip.shape == (3, 17, 128, 128)
    assert job.inputs.notes == ()
    assert job.inputs.edit.sample_steps == TINY.defaults['pvtt'][
        'sample_steps']


def test_flags_go_before_what_the_model_likes(embedded):
    job = prepared(*TEXT, '--frame_num', 5, '--sample_steps', 3, '--prompt',
                   'a disc.')
    assert (job.frame_num, job.steps, job.args.prompt) == (5, 3, 'a disc.')


@pytest.mark.parametrize('method, scale', [
    (None, 7.5), ('flowalign', 7.5), ('flowedit', GUIDE_SCALES['flowedit']),
    ('sdedit', GUIDE_SCALES['sdedit'])])
def test_the_models_guidance_is_of_the_usual_method(
        embedded, monkeypatch, method, scale):
    monkeypatch.setitem(TINY.defaults['pvtt'], 'sample_guide_scale', 7.5)
    more = ('--edit_method', method) if method else ()
    edit = prepared(*EDIT, *more).inputs.edit
    assert edit.sample_guide_scale == scale


def test_settings_of_the_edit_may_be_the_models_own(embedded, monkeypatch):
    monkeypatch.setitem(TINY.defaults['pvtt'], 'strength', 0.4)
    assert prepared(*EDIT).inputs.edit.strength == 0.4
    assert prepared(*EDIT, '--strength', 0.9).inputs.edit.strength == 0.9


def test_experiments_do_without_ckpt_dir_too(embedded, tmp_path, capsys):
    assert run_experiments.main([
        str(ROOT / 'configs/pvtt/demo.yaml'), '--out', str(tmp_path / 'out'),
        '--dry_run']) == 0
    assert capsys.readouterr().out.startswith('demo: waiting')


@pytest.mark.skipif(not EMBEDDED.is_dir(), reason='no embedded model yet')
def test_the_shipped_model_has_the_configs_sizes():
    args = generate.parse_args([*TEXT, '--ckpt_dir', str(EMBEDDED)])
    config, sizes, model = read_model(args)
    assert config is TINY and sizes == ('128*128',)
    for name in ('text_len', 'dim', 'ffn_dim', 'freq_dim', 'num_heads',
                 'num_layers', 'eps'):
        assert model.config[name] == config[name], name
    assert tuple(model.patch_size) == config.patch_size
