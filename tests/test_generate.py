r"""generate.py for text to video and image: results, refusals, conduct."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch
from PIL import Image

import generate
from tests.cli import (
    WEIGHTS,
    changed,
    distance,
    embedded,
    failure,
    frames,
    interrupt,
    nothing_changes,
    prepared,
    result,
    share_pipelines,
    small_disk,
)
from wan import configs, jobs
from wan.jobs.origin import write_record
from wan.jobs.preparing import setting_names
from wan.modules import vae
from wan.tasks import TASKS
from wan.utils.video import probe

PROMPT = 'a red vase on a wooden table'
STAGES = ('load', 'encode text', 'denoise', 'decode', 'save')


def flags(ckpt_dir, save_file, *more):
    r"""A small run, one frame of it; later flags override."""
    return [str(flag) for flag in (
        '--task', 't2v-tiny', '--ckpt_dir', ckpt_dir, '--size', '128*128',
        '--frame_num', 1, '--sample_steps', 2, '--prompt', PROMPT,
        '--base_seed', 1, '--save_file', save_file, *more)]


@pytest.fixture(scope='module')
def pipelines():
    return {}


@pytest.fixture
def sample(checkpoint, tmp_path, monkeypatch, pipelines):
    r"""Run with other flags; gives the video."""
    share_pipelines(monkeypatch, pipelines)

    def run(*more, name='sample.mp4'):
        path = tmp_path / name
        result(generate.main(flags(checkpoint, path, *more)), path)
        return path

    return run


@pytest.fixture(scope='module')
def base(checkpoint, tmp_path_factory):
    r"""One frame with seed 1."""
    path = tmp_path_factory.mktemp('base') / 'base.mp4'
    result(generate.main(flags(checkpoint, path)), path)
    return path


@pytest.fixture(scope='module')
def clip(checkpoint, tmp_path_factory):
    r"""Five frames in a folder that was not there."""
    path = tmp_path_factory.mktemp('clip') / 'new' / 'folder' / 'clip.mp4'
    more = ('--frame_num', 5, '--dtype', 'float32')
    result(generate.main(flags(checkpoint, path, *more)), path)
    return path


@pytest.fixture
def copy(checkpoint, tmp_path):
    r"""A checkpoint to damage."""
    return shutil.copytree(checkpoint, tmp_path / 'copy')


# What a run gives


def test_video_has_the_size_length_and_rate_asked_for(clip):
    info = probe(clip)
    assert (info.width, info.height, info.fps) == (128, 128, 16)
    video = frames(clip)
    assert video.shape == (3, 5, 128, 128)
    assert video.std() > 0.05
    assert not info.has_audio
    assert sorted(p.name for p in clip.parent.iterdir()) == [
        'clip.json', 'clip.mp4']


def test_record_tells_everything_about_the_run(clip):
    record = json.loads(clip.with_suffix('.json').read_text('utf-8'))
    assert record['seed'] == 1
    assert set(record['arguments']) == {
        'task', *setting_names({'it': TASKS['t2v-tiny']})}
    given = {
        'task': 't2v-tiny', 'size': '128*128', 'frame_num': 5,
        'prompt': PROMPT, 'sample_steps': 2, 'dtype': 'float32',
        'sample_shift': 5.0, 'sample_guide_scale': 5.0,
        'offload_model': True, 'save_file': str(clip)}
    assert given.items() <= record['arguments'].items()
    assert record['versions']['torch'] == torch.__version__
    assert record['versions']['wan']
    assert tuple(record['seconds']) == STAGES
    assert all(seconds >= 0 for seconds in record['seconds'].values())
    assert record['peak_memory_bytes']['host'] > 2**26


def test_the_record_is_inside_the_video_too(clip):
    beside = json.loads(clip.with_suffix('.json').read_text('utf-8'))
    inside = embedded(clip)
    # Known only when the video is written.
    del beside['files'], beside['digest']
    for record in (beside, inside):
        record.pop('peak_memory_bytes')
        record['seconds'].pop('save', None)
    assert inside == beside


def test_default_name_is_legal_everywhere(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = flags(checkpoint, '', '--prompt', 'a/b: *vase*? "花瓶" <|>')
    assert generate.main(given) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    stem = r't2v-tiny_128x128_1_a-b-vase-花瓶_\d{8}_\d{6}'
    assert len(names) == 2
    assert re.fullmatch(rf'{stem}\.json', names[0])
    assert re.fullmatch(rf'{stem}\.mp4', names[1])


def test_text_to_image(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(configs.SUPPORTED_SIZES, 't2i-14B', ('128*128',))
    path = tmp_path / 'still.png'
    record = result(generate.main(
        flags(checkpoint, path, '--task', 't2i-14B')), path)
    with Image.open(path) as image:
        assert image.size == (128, 128)
        inside = json.loads(image.info['comment'])
    assert inside['arguments'] == record['arguments']
    assert inside['arguments']['frame_num'] == 1


@pytest.mark.parametrize('more', (
    (), ('--t5_cpu',), ('--offload_model', 'false'),
    ('--cache_text', 'no', '--offload_model', 'yes')))
def test_same_seed_same_bits_however_it_is_computed(base, sample, more):
    assert torch.equal(frames(sample(*more)), frames(base))


def test_five_frames_repeat_too(clip, sample):
    again = sample('--frame_num', 5, '--dtype', 'float32')
    assert torch.equal(frames(again), frames(clip))


@pytest.fixture(scope='module')
def pipe(checkpoint):
    return jobs.load(prepared(*flags(checkpoint, 'x.mp4')))


def generated(pipe, **changes):
    r"""The small run as a caller in Python writes it."""
    return pipe.generate(**{
        'input_prompt': PROMPT, 'size': (128, 128), 'frame_num': 1,
        'sampling_steps': 2, 'seed': 1, **changes})


@pytest.mark.parametrize('flag, name, value', (
    ('base_seed', 'seed', 2), ('prompt', 'input_prompt', 'a blue bag'),
    ('n_prompt', 'n_prompt', 'a red bag'),
    ('sample_guide_scale', 'guide_scale', 1.0),
    ('sample_shift', 'shift', 2.0), ('sample_steps', 'sampling_steps', 3),
    ('sample_solver', 'sample_solver', 'dpm++'),
    ('sample_solver', 'sample_solver', 'euler')))
def test_a_flag_does_what_the_argument_does(
        checkpoint, tmp_path, pipe, flag, name, value):
    job = prepared(*flags(checkpoint, tmp_path / 'x.mp4', f'--{flag}', value))
    assert job.record.arguments[flag] == value
    made = jobs.run(job, pipe)
    assert torch.equal(made, generated(pipe, **{name: value}))
    assert not torch.equal(made, generated(pipe))


def test_a_drawn_seed_is_recorded(sample):
    first, second = (
        json.loads(sample('--base_seed', -1).with_suffix('.json').read_text())
        for _ in range(2))
    assert first['seed'] >= 0
    assert first['seed'] != second['seed']
    assert first['seed'] == first['arguments']['base_seed']


@pytest.mark.parametrize('one, other, most', (
    (('--attention', 'math', '--dtype', 'float32'),
     ('--attention', 'sdpa', '--dtype', 'float32'), 0.001),
    (('--dtype', 'float32'), ('--dtype', 'bfloat16'), 0.02),
    ((), ('--vae_dtype', 'bfloat16'), 0.02),
    ((), ('--quantize', 'int8'), 0.05)))
def test_back_ends_and_dtypes_agree(sample, one, other, most):
    a, b = sample(*one, name='a.mp4'), sample(*other, name='b.mp4')
    assert distance(a, b) <= most


def test_tiles_are_close_to_the_whole(base, sample, monkeypatch):
    monkeypatch.setattr(vae, 'TILE', (12, 4))
    assert 0 < distance(sample('--vae_tiling'), base) < 0.1


def test_dry_run_prints_the_plan_and_reads_no_weights(
        shell, tmp_path, capsys):
    path = tmp_path / 'new' / 'plan.mp4'
    with nothing_changes(tmp_path):
        assert generate.main(flags(
            shell, path, '--frame_num', 17, '--dtype', 'float32',
            '--dry_run')) == 0
    out = capsys.readouterr().out
    for part in ('cpu, float32', '4 layers of 96', '3x17x128x128',
                 '16x5x16x16, 320 tokens', '2 steps x 2 evaluations',
                 'denoise', 'decode', 'peak memory', str(path)):
        assert part in out


# Bad input: exit 2, one sentence, no weights read, nothing written


@pytest.mark.parametrize('bad, told', (
    (('--frame_num', 6), 'frame_num is 6, allowed is 4n + 1'),
    (('--frame_num', 0), 'frame_num is 0'),
    (('--frame_num', -3), 'frame_num is -3'),
    (('--frame_num', 100001), '1997'),
    (('--frame_num', 'five'), "invalid int value: 'five'"),
    (('--size', '832*480'), 'not supported by this model; allowed: 128*128'),
    (('--size', '64*64'), "invalid choice: '64*64'"),
    (('--task', 't2v-15B'), "invalid choice: 't2v-15B'"),
    (('--task', 't2i-14B', '--size', '832*480', '--frame_num', 5,
      '--save_file', 'x.png'), 'an image has 1 frame'),
    (('--sample_steps', 0), 'sample_steps is 0: at least 1'),
    (('--sample_shift', 0), 'sample_shift is 0.0, allowed is above 0'),
    (('--sample_shift', 'nan'), 'sample_shift is nan, expected a finite'),
    (('--sample_guide_scale', 'nan'), 'sample_guide_scale is nan'),
    (('--sample_guide_scale', 'inf'), 'sample_guide_scale is inf'),
    (('--sample_solver', 'heun'), "invalid choice: 'heun'"),
    (('--base_seed', 2**63), f'allowed is up to {2**63 - 1}'),
    (('--prompt', '  '), 'prompt is empty'),
    (('--offload_model', 'maybe'), "not 'maybe'"),
    (('--device', 'toaster'), 'device toaster is not usable here'),
    (('--device', 'meta'), 'known are cuda, mps, cpu'),
    (('--attention', 'sage'), "invalid choice: 'sage'"),
    (('--ulysses_size', 2), 'ulysses_size 2 needs several processes'),
    (('--dit_fsdp',), 'dit_fsdp True needs several processes'),
    (('--no_such_flag',), 'unrecognized arguments: --no_such_flag'),
))
def test_bad_values(shell, tmp_path, capsys, bad, told):
    with nothing_changes(tmp_path):
        said = failure(
            capsys, 2, flags(shell, tmp_path / 'new' / 'x.mp4', *bad))
    assert told in said


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
@pytest.mark.parametrize('bad, told', (
    (('--device', 'cuda'), 'device cuda is not usable here'),
    (('--attention', 'fa3'), "'fa3' is not installed"),
    (('--attention', 'cudnn'), "'cudnn' needs a CUDA device")))
def test_what_needs_a_gpu_is_refused_without_one(
        shell, tmp_path, capsys, bad, told):
    assert told in failure(capsys, 2, flags(shell, tmp_path / 'x.mp4', *bad))


@pytest.mark.parametrize('name, told', (
    ('x.gif', 'must end in one of .mp4, .mov, .mkv'),
    ('x', 'must end in one of'),
    ('folder.mp4', 'a folder of that name exists'),
    ('record.mp4', 'record.json: a folder of that name exists'),
    ('file.txt/x.mp4', 'is not a folder that may be written to'),
    ('ä' * 200 + '.mp4', 'the name has 404 bytes')))
def test_bad_targets(shell, tmp_path, capsys, name, told):
    (tmp_path / 'folder.mp4').mkdir()
    (tmp_path / 'record.json').mkdir()
    (tmp_path / 'file.txt').write_text('')
    with nothing_changes(tmp_path):
        assert told in failure(capsys, 2, flags(shell, tmp_path / name))


def test_a_full_disk_is_seen_before(shell, tmp_path, capsys, monkeypatch):
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(
        shutil, 'disk_usage', lambda path: usage(10**9, 10**9, 10**4))
    said = failure(capsys, 2, flags(shell, tmp_path / 'x.mp4'))
    assert '0 MB are free' in said


# Checkpoints


def damage_config(copy, **changes):
    path = copy / 'config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize('damage, told', (
    (lambda c: shutil.rmtree(c), 'is not a folder'),
    (lambda c: [shutil.rmtree(c), c.mkdir()],
     'is incomplete: no models_t5_umt5-xxl-enc-bf16.pth, Wan2.1_VAE.pth, '
     'config.json, google/umt5-xxl/tokenizer.json'),
    (lambda c: (c / 'Wan2.1_VAE.pth').unlink(),
     'is incomplete: no Wan2.1_VAE.pth.'),
    (lambda c: shutil.rmtree(c / 'google'),
     'is incomplete: no google/umt5-xxl/tokenizer.json.'),
    (lambda c: (c / WEIGHTS).unlink(), 'No weights at'),
    (lambda c: (c / 'config.json').write_text('{'), 'describes no model'),
    (lambda c: (c / 'config.json').write_text('[1]'), 'describes no model'),
    (lambda c: damage_config(c, num_heads=7),
     'dim 96 must split into 7 heads'),
    (lambda c: damage_config(c, dim='wide'), 'describes no model'),
    (lambda c: damage_config(c, model_type='i2v', in_dim=36),
     'needs a checkpoint of type t2v'),
))
def test_incomplete_checkpoints(copy, tmp_path, capsys, damage, told):
    damage(copy)
    with nothing_changes(tmp_path):
        assert told in failure(capsys, 2, flags(copy, tmp_path / 'x.mp4'))


def test_no_checkpoint_named(tmp_path, capsys):
    said = failure(capsys, 2, ['--task', 't2v-1.3B', '--size', '832*480'])
    assert said == (
        'ckpt_dir is missing: the folder of the weights (only t2v-tiny and '
        'pvtt can run with the embedded model).')


def test_wrong_keys_are_named_and_counted(checkpoint, tmp_path, capsys):

    def rename(state):
        state['head.surplus'] = state.pop('head.head.bias')
        state['patch_embedding.bias'] = torch.zeros(3)
        return state

    folder = changed(checkpoint, tmp_path / 'renamed', rename)
    said = failure(capsys, 2, flags(folder, tmp_path / 'x.mp4'))
    for part in (str(folder / WEIGHTS), '1 missing (head.head.bias)',
                 '1 unexpected (head.surplus)', '1 misshaped (patch_embedding'):
        assert part in said


@pytest.mark.parametrize(
    'name', (WEIGHTS, 'Wan2.1_VAE.pth', 'models_t5_umt5-xxl-enc-bf16.pth'))
def test_truncated_weights(copy, tmp_path, capsys, name):
    path = copy / name
    os.truncate(path, path.stat().st_size // 2)
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, flags(copy, tmp_path / 'x.mp4'))
    assert f'Cannot read {path}' in said


def test_a_damaged_tokenizer(copy, tmp_path, capsys):
    (copy / 'google/umt5-xxl/tokenizer.json').write_text('{"version": 1')
    said = failure(capsys, 2, flags(copy, tmp_path / 'x.mp4'))
    assert 'tokenizer.json' in said


# Faults and interruptions: an existing result stays, nothing else appears


@pytest.fixture
def target(tmp_path):
    r"""A result of an earlier run."""
    folder = tmp_path / 'out'
    folder.mkdir()
    (folder / 'x.mp4').write_text('old video')
    write_record(folder / 'x.json', {'text': 'old record'})
    return folder / 'x.mp4'


def test_a_model_that_gives_nan(checkpoint, tmp_path, target, capsys):

    def break_head(state):
        return state | {
            'head.head.weight': state['head.head.weight'] * 1e38}

    folder = changed(checkpoint, tmp_path / 'nan', break_head)
    with nothing_changes(target.parent):
        said = failure(capsys, 1, flags(folder, target))
    assert said.startswith(
        'FloatingPointError: The latent is not finite after step ')


def test_disk_full_while_writing(checkpoint, target, capsys):
    with nothing_changes(target.parent), small_disk(2048):
        said = failure(capsys, 1, flags(checkpoint, target))
    assert 'Could not write' in said


def test_disk_full_when_the_record_is_written(
        checkpoint, target, capsys, monkeypatch):

    def full(*args, **kwargs):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_text', full)
    with nothing_changes(target.parent):
        said = failure(capsys, 1, flags(checkpoint, target))
    assert 'No space left on device' in said


@pytest.mark.parametrize('when', ('entering', 'leaving'))
@pytest.mark.parametrize('stage', STAGES)
def test_interrupted_at_every_stage(
        checkpoint, target, capsys, monkeypatch, stage, when):
    interrupt(monkeypatch, stage, when)
    with nothing_changes(target.parent):
        said = failure(capsys, 130, flags(checkpoint, target))
    assert said == 'interrupted; nothing was written'


def test_interrupted_while_checking(checkpoint, target, capsys, monkeypatch):

    def press(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(generate.jobs, 'prepare', press)
    with nothing_changes(target.parent):
        failure(capsys, 130, flags(checkpoint, target))


def test_ctrl_c_while_denoising(checkpoint, target):
    r"""A terminal sends the signal to the whole process group."""
    command = [sys.executable, 'generate.py', *flags(
        checkpoint, target, '--sample_steps', 999)]
    with nothing_changes(target.parent), subprocess.Popen(
            command, cwd=Path(generate.__file__).parent, text=True,
            start_new_session=True, stderr=subprocess.PIPE) as process:
        for line in process.stderr:
            if 'denoise ...' in line:
                os.killpg(process.pid, signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert rest.splitlines()[-1] == (
        'generate.py: error: interrupted; nothing was written')
    assert 'Traceback' not in rest


def test_overwriting_replaces_video_and_record(base, checkpoint, target):
    record = result(generate.main(flags(checkpoint, target)), target)
    assert record['seed'] == 1
    assert torch.equal(frames(target), frames(base))
    assert len(list(target.parent.iterdir())) == 2


def test_seconds_belong_to_one_run_of_a_shared_pipeline(checkpoint, tmp_path):
    pipe = None
    for name in ('a.mp4', 'b.mp4'):
        job = prepared(*flags(checkpoint, tmp_path / name))
        pipe = pipe or jobs.load(job)
        jobs.execute(job, pipe)
    record = json.loads((tmp_path / 'b.json').read_text())
    assert set(record['seconds']) == set(STAGES) - {'load'}


def test_an_ffmpeg_that_will_not_do_is_seen_before(
        shell, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(imageio_ffmpeg, 'get_ffmpeg_exe', lambda: '/bin/false')
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, flags(shell, tmp_path / 'x.mp4'))
    assert said.startswith('The ffmpeg at /bin/false will not do')
