r"""Experiment files and sweeps: which flags they become, what is refused."""
from pathlib import Path

import pytest
import yaml

import generate
from run_experiments import flag_reader
from wan.experiments.files import experiment_flags
from wan.experiments.sweep import grid, read_sweeps
from wan.utils.flags import settings

SHIPPED = sorted(
    Path(__file__).parents[2].glob('configs/pvtt/*.yaml'))


def experiment(folder, text, name='x.yaml'):
    path = folder / name
    path.write_text(text)
    return path


def parsed(path, *flags):
    return generate.parse_args(['--task', 'pvtt', f'--config={path}', *flags])


def test_original_names_become_our_flags(tmp_path):
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
    assert experiment_flags(path) == [
        '--src_video=a.mp4', '--sample_guide_scale=13.5',
        '--fg_zeta_scale=0.002', '--bg_zeta_scale=0.2', '--use_mask=False',
        '--use_reference=True', '--sample_steps=33', '--base_seed=7']
    args = parsed(path)
    assert (args.sample_guide_scale, args.sample_steps) == (13.5, 33)
    assert (args.use_mask, args.use_reference) == (False, True)


def test_lists_are_joined_and_nothing_is_left_out(tmp_path):
    path = experiment(tmp_path, """
video:
  target_image: [a.png, b.png]
  source_blend:
flowalign:
  ref_c: [0.2, -0.1]
""")
    args = parsed(path)
    assert args.target_image == 'a.png,b.png'
    assert args.ref_c == '0.2,-0.1'
    assert args.source_blend is None


def test_the_command_line_overrides_the_file(tmp_path):
    path = experiment(tmp_path, 'flowalign: {strength: 0.5, ref_c: 0.3}')
    args = parsed(path, '--strength', '0.9')
    assert (args.strength, args.ref_c) == ('0.9', '0.3')


def test_paths_are_found_beside_the_file(tmp_path, monkeypatch):
    (tmp_path / 'here').mkdir()
    (tmp_path / 'clip.mp4').touch()
    path = experiment(tmp_path, """
video: {video_path: clip.mp4, target_image: nowhere.png}
""")
    monkeypatch.chdir(tmp_path / 'here')
    args = parsed(path)
    assert args.src_video == str(tmp_path / 'clip.mp4')
    assert args.target_image == 'nowhere.png'
    (tmp_path / 'here/clip.mp4').touch()
    assert parsed(path).src_video == 'clip.mp4'


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
        experiment_flags(experiment(tmp_path, text))
    assert told in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match='Cannot read .*none.yaml'):
        experiment_flags(tmp_path / 'none.yaml')


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_hold_the_known_settings(path):
    edit = settings(parsed(path), generate.EditConfig)
    generate.EditConfig(**edit)
    reference = settings(parsed(path), generate.RefConfig)
    demo = path.stem == 'demo'
    assert generate.RefConfig(**reference) == generate.RefConfig(
        ref_c=(0.3 if demo else 0.2,))
    del edit['sample_steps']
    assert edit.pop('composite', False) == demo
    assert edit == {
        'strength': 0.7, 'sample_guide_scale': 2.0 if demo else 19.5,
        'fg_zeta_scale': 1e-3, 'bg_zeta_scale': 1e-1}
    args = parsed(path)
    assert args.ref_preset == ('best' if demo else None)
    assert args.sample_steps == (25 if demo else 50)
    assert args.use_mask and args.use_reference and args.base_seed == 0
    assert (args.source_blend or '') in args.source_prompt
    assert (args.target_blend or '') in args.target_prompt
    assert args.source_prompt != args.target_prompt


def test_shipped_files_are_the_ones_promised():
    assert [path.stem for path in SHIPPED] == [
        'demo', 'socks_to_skirt', 'stacker_to_ride_toy', 'tray_to_flowers',
        'watch_to_bracelet']


def test_the_demo_finds_its_files_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = parsed(SHIPPED[0])
    assert Path(args.src_video).is_file()
    assert Path(args.target_image).is_file()


def test_sweeps_make_a_grid_with_readable_names():
    sweeps = read_sweeps(['ref_c=0,0.1', 'ref_layers=all;0,3', 'seed=-1'])
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
        [f'target_prompt={long};{long}x', 'src_mask=../m.png;,m.png']))
    assert len(jobs) == 4
    for name in jobs:
        assert '/' not in name and not name.startswith('.')
        assert len(name) < 255


@pytest.mark.parametrize(('sweeps', 'told'), [
    (['ref_c'], 'must read key=value'),
    (['ref_x=1,2'], "unknown key 'ref_x'; did you mean 'ref_"),
    (['ckpt_dir=a,b'], "unknown key 'ckpt_dir'"),
    (['ref_c=1', 'ref_c=2'], 'gives ref_c twice'),
    (['seed=1', 'base_seed=2'], 'gives base_seed twice'),
    (['ref_c=1,1'], 'has a value twice'),
])
def test_wrong_sweeps_are_refused(sweeps, told):
    with pytest.raises(ValueError, match='--sweep') as caught:
        read_sweeps(sweeps)
    assert told in str(caught.value)


def test_two_files_of_one_name_are_refused():
    with pytest.raises(ValueError, match="a/x.yaml and b/x.yaml .* 'x'"):
        grid(['a/x.yaml', 'b/x.yaml'], {})


def test_a_point_overrides_the_command_line_and_that_the_file(tmp_path):
    path = experiment(tmp_path, """
flowalign: {ref_c: 0.1, strength: 0.1, sample_steps: 1}
""")
    read = flag_reader([
        str(path), '--strength=0.2', '--ref_c=0.2', '--sweep', 'ref_c=0.3'])
    args = read(path, {'ref_c': '0.3'})
    assert (args.sample_steps, args.strength, args.ref_c) == (1, '0.2', '0.3')
    assert (args.task, args.base_seed) == ('pvtt', 0)
    assert not hasattr(args, 'sweep')


def test_what_the_parser_refuses_is_a_value_error(tmp_path):
    path = experiment(tmp_path, yaml.safe_dump(
        {'video': {'frame_num': 'many'}}))
    with pytest.raises(ValueError, match="frame_num: invalid int .*'many'"):
        flag_reader([str(path)])(path, {})
