r"""Experiment files and sweeps: which flags they become, what is refused."""
import re
from pathlib import Path

import pytest

import generate
from run_experiments import reader
from tests.cli import prepared
from wan.edit_config import PRESETS, EditConfig
from wan.experiments.sweep import grid, read_sweeps
from wan.jobs.edit_settings import EditInputs, EditOptions
from wan.jobs.settings_file import (
    experiment_task,
    read_experiment,
    sweep_keys,
)
from wan.refdrop.config import RefConfig
from wan.tasks import TASKS
from wan.utils.flags import build

SHIPPED = sorted(
    Path(__file__).parents[2].glob('configs/pvtt/*.yaml'))


def experiment(folder, text, name='x.yaml'):
    path = folder / name
    path.write_text(text)
    return path


def parsed(path, *flags):
    r"""The settings of a file and of flags beside it."""
    command = generate.parse_args([f'--config={path}', *flags])
    assert command.task == 'pvtt'
    return command.given


def read_file(path):
    return read_experiment(path, TASKS['pvtt'])


def test_original_names_become_our_settings(tmp_path):
    path = experiment(tmp_path, """
video:
  video_path: a.mp4
flowalign:
  target_guidance_scale: 13.5
  zeta_scale: 0.002
  bg_zeta_scale: 0.2
  flag_attnmask: false
  use_reference_attention: true
  num_inference_steps: 33
  seed: 7
""")
    assert read_file(path) == {
        'src_video': 'a.mp4', 'sample_guide_scale': 13.5,
        'fg_zeta_scale': 0.002, 'bg_zeta_scale': 0.2, 'use_mask': False,
        'use_reference': True, 'sample_steps': 33, 'base_seed': 7}


def test_lists_are_taken_and_nothing_is_left_out(tmp_path):
    path = experiment(tmp_path, """
video:
  target_image: [a.png, 'b,c.png']
  source_blend:
flowalign:
  ref_c: [0.2, -0.1]
  ref_layers: [0, 3]
""")
    given = read_file(path)
    assert 'source_blend' not in given
    assert build(EditInputs, given).target_image == ('a.png', 'b,c.png')
    assert build(RefConfig, given).ref_c == (0.2, -0.1)
    assert build(RefConfig, given).ref_layers == '0,3'
    assert build(EditInputs, {'target_image': 'a.png, b.png'}
                 ).target_image == ('a.png', 'b.png')


def test_a_setting_stands_once(tmp_path):
    path = experiment(tmp_path, 'flowalign: {seed: 1, base_seed: 2}')
    with pytest.raises(ValueError, match='x.yaml gives base_seed twice'):
        read_file(path)


def test_the_command_line_overrides_the_file(tmp_path):
    path = experiment(tmp_path, 'flowalign: {strength: 0.5, ref_c: 0.3}')
    assert parsed(path, '--strength', '0.9') == {
        'strength': 0.9, 'ref_c': 0.3}


def test_only_tasks_with_experiments_have_files(tmp_path):
    path = experiment(tmp_path, 'flowalign: {strength: 0.5}')
    assert experiment_task(TASKS) == experiment_task(TASKS, 'pvtt') == 'pvtt'
    with pytest.raises(ValueError, match='t2v-tiny has no experiment files; '
                       'allowed: pvtt'):
        parsed(path, '--task', 't2v-tiny')


def test_paths_are_found_beside_the_file(tmp_path, monkeypatch):
    (tmp_path / 'here').mkdir()
    (tmp_path / 'clip.mp4').touch()
    path = experiment(tmp_path, """
video: {video_path: clip.mp4, target_image: nowhere.png}
""")
    monkeypatch.chdir(tmp_path / 'here')
    given = parsed(path)
    assert given['src_video'] == str(tmp_path / 'clip.mp4')
    assert given['target_image'] == ('nowhere.png',)
    (tmp_path / 'here/clip.mp4').touch()
    assert parsed(path)['src_video'] == 'clip.mp4'


def test_files_with_commas_are_found_beside_the_file(tmp_path, monkeypatch):
    (tmp_path / 'here').mkdir()
    for name in ('clip, final.mp4', 'Bracelet, gold.png', 'a.png', 'b.png'):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / 'here')

    def photos(value):
        return parsed(experiment(tmp_path, f"""
video: {{video_path: "clip, final.mp4", target_image: {value}}}
"""))

    one = photos('"Bracelet, gold.png"')
    assert one['src_video'] == str(tmp_path / 'clip, final.mp4')
    assert one['target_image'] == (str(tmp_path / 'Bracelet, gold.png'),)
    for value in ('"a.png, b.png"', '[a.png, b.png]'):
        assert photos(value)['target_image'] == (
            str(tmp_path / 'a.png'), str(tmp_path / 'b.png'))


@pytest.mark.parametrize('text, line, told', (
    ('video:\n  source_prompt: close-up: a heart\n', 2,
     'mapping values are not allowed here: a text with a colon needs quotes'),
    ('video:\n  video_path: "C:\\Users\\a.mp4"\n', 2, 'starts an escape'),
    ('video:\n\tvideo_path: a.mp4\n', 2, 'indented by blanks'),
    ('video: {size: a}\nvideo: {fit: b}\n', 2, 'video stands twice'),
    ('video:\n  fit: a\n  size: b\n  fit: c\n', 4, 'fit stands twice')))
def test_what_is_no_yaml_is_told_with_its_line(tmp_path, text, line, told):
    with pytest.raises(ValueError) as caught:
        read_file(experiment(tmp_path, text))
    said = str(caught.value)
    assert said.startswith(
        f'Cannot read {tmp_path}/x.yaml, line {line}: ') and told in said


@pytest.mark.parametrize(('text', 'told'), [
    ('video: {video_pth: a.mp4}', "unknown key 'video_pth'; did you mean "
     "'video_path'"),
    ('flowalign: {ref_cc: 1}', "did you mean 'ref_c'"),
    ('vidoe: {video_path: a.mp4}', "did you mean 'video'"),
    # known, but of the other section
    ('video: {strength: 0.7}', "unknown key 'strength'"),
    ('flowalign: {ckpt_dir: x}', "unknown key 'ckpt_dir'"),
    ('- video', 'must have the sections video, flowalign'),
    ('video: a.mp4', 'must have the sections'),
    ('video: {', 'Cannot read'),
    ('video: !!python/object/apply:os.system [exit]', 'Cannot read'),
])
def test_wrong_files_are_refused(tmp_path, text, told):
    with pytest.raises(ValueError, match='x.yaml') as caught:
        read_file(experiment(tmp_path, text))
    assert told in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match='Cannot read .*none.yaml'):
        read_file(tmp_path / 'none.yaml')


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_say_only_what_differs(path):
    given = read_file(path)
    assert given.pop('base_seed') == 0
    inputs, options = build(EditInputs, given), build(EditOptions, given)
    for name, value in given.items():
        for kind in TASKS['pvtt'].kinds:
            assert getattr(kind, name, None) != value, name
    assert build(RefConfig, given) == RefConfig()
    demo = path.stem == 'demo'
    assert build(EditConfig, given) == EditConfig()
    assert options == EditOptions(ref_preset='relight' if demo else None)
    assert inputs.source_blend in inputs.source_prompt
    assert inputs.target_blend in inputs.target_prompt
    assert inputs.source_prompt != inputs.target_prompt


def test_shipped_files_are_the_ones_promised():
    assert [path.stem for path in SHIPPED] == [
        'demo', 'socks_to_skirt', 'stacker_to_ride_toy', 'tray_to_flowers',
        'watch_to_bracelet']


def test_the_demo_runs_from_anywhere(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = prepared('--config', SHIPPED[0], '--ckpt_dir', checkpoint)
    assert job.work.notes == ()
    edit = job.settings[EditConfig]
    for name in ('edit_method', 'collage_detail', 'strength'):
        assert getattr(edit, name) == PRESETS['relight'][name]


KEYS = sweep_keys(TASKS['pvtt'])


def test_sweeps_make_a_grid_with_readable_names():
    sweeps = read_sweeps(
        ['ref_c=0,0.1', 'ref_layers=all;0,3', 'seed=-1'], KEYS)
    assert sweeps == {
        'ref_c': ['0', '0.1'], 'ref_layers': ['all', '0,3'],
        'base_seed': ['-1']}
    jobs = grid(['a/x.yaml', 'y.yaml'], sweeps)
    assert list(jobs) == [
        f'{stem}__ref_c={c}__ref_layers={layers}__base_seed=-1'
        for stem in 'xy' for c in ('0', '0.1') for layers in ('all', '0,3')]
    file, point = jobs['y__ref_c=0.1__ref_layers=0,3__base_seed=-1']
    assert file == 'y.yaml'
    assert point == {'ref_c': '0.1', 'ref_layers': '0,3', 'base_seed': '-1'}


def test_names_stay_inside_the_folder_and_apart():
    long = 'a gold bracelet on a table ' * 5
    jobs = grid(['a/...yaml'], read_sweeps(
        [f'target_prompt={long};{long}x', 'src_mask=../m.png;,m.png'], KEYS))
    assert len(jobs) == 4
    for name in jobs:
        assert '/' not in name and not name.startswith('.')
        assert len(name) < 255


@pytest.mark.parametrize(('sweeps', 'told'), [
    (['ref_c'], 'must read key=value'),
    (['ref_x=1,2'], "unknown key 'ref_x'; did you mean 'ref_"),
    (['ckpt_dir=a,b'], "unknown key 'ckpt_dir'"),
    (['ref_c=1', 'ref_c=2'], 'Two sweeps give ref_c'),
    (['seed=1', 'base_seed=2'], 'Two sweeps give base_seed'),
    (['ref_c=1,1'], 'has a value twice'),
])
def test_wrong_sweeps_are_refused(sweeps, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        read_sweeps(sweeps, KEYS)


def test_two_files_of_one_name_are_refused():
    with pytest.raises(ValueError, match="a/x.yaml and b/x.yaml .* 'x'"):
        grid(['a/x.yaml', 'b/x.yaml'], {})


def test_a_point_overrides_the_command_line_and_that_the_file(tmp_path):
    path = experiment(tmp_path, """
flowalign: {ref_c: 0.1, strength: 0.1, sample_steps: 1}
""")
    read = reader(TASKS['pvtt'], {'strength': 0.2, 'ref_c': 0.2})
    assert read(path, {'ref_c': '0.3'}) == {
        'base_seed': 0, 'sample_steps': 1, 'strength': 0.2, 'ref_c': '0.3'}
    path.write_text('flowalign: {seed: 7}')
    assert read(path, {})['base_seed'] == 7
