r"""generate.py --task pvtt: what an edit gives, its settings, its conduct."""
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import generate
from tests.cli import (
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
from tests.edits import PLAIN, SOURCE, TARGET, edit_flags
from wan import jobs
from wan.configs import WAN_CONFIGS
from wan.edit_config import PRESETS, EditConfig
from wan.flowalign import EDIT_METHODS
from wan.jobs import running
from wan.jobs.edit_settings import EditInputs
from wan.jobs.memory import Memory
from wan.jobs.origin import write_record
from wan.product.masks import feather
from wan.refdrop.config import RefConfig
from wan.utils.video import probe

STAGES = ('load', 'encode text', 'encode', 'find the product',
          'capture the reference', 'edit', 'decode', 'measure', 'save')
NO_COLLAGE = ('--collage_zeta_scale', 0)


@pytest.fixture(scope='module', autouse=True)
def _shared_pipelines():
    with pytest.MonkeyPatch.context() as patch:
        share_pipelines(patch, {})
        yield


@pytest.fixture(scope='module')
def edit(checkpoint, media):
    r"""Edit with other flags; gives the result and its record, no files."""

    def run(*more):
        job = prepared(*edit_flags(checkpoint, media, media / 'x.mp4', *more))
        made = jobs.run(job)
        return SimpleNamespace(
            **vars(made), mask=made.mask, job=job,
            record=job.record.as_dict()['results'])

    return run


@pytest.fixture(scope='module')
def base(edit):
    r"""The edit all others are compared with, and the bounds of any."""
    return edit('--measure_ceiling')


@pytest.fixture(scope='module')
def whole(checkpoint, media, tmp_path_factory):
    r"""An edit with nothing but defaults, of a template with audio."""
    path = tmp_path_factory.mktemp('whole') / 'whole.mp4'
    code = generate.main([str(flag) for flag in (
        '--task', 'pvtt', '--ckpt_dir', checkpoint, '--output', 'model',
        '--src_video', media / 'clip.mp4',
        '--target_image', media / 'plain.png',
        '--source_prompt', SOURCE, '--target_prompt', TARGET, '--base_seed',
        7, '--sample_steps', 3, '--save_file', path)])
    return SimpleNamespace(path=path, **result(code, path))


def apart(a, b):
    r"""Mean absolute difference of two videos."""
    return (a - b).abs().mean().item()


# What an edit gives


def test_all_results_of_an_edit(whole):
    folder = whole.path.parent
    assert sorted(p.name for p in folder.iterdir()) == [
        'whole.json', 'whole.mp4', 'whole_comparison.mp4', 'whole_mask.mp4',
        'whole_sheet.png']
    info = probe(whole.path)
    assert (info.width, info.height, info.fps) == (128, 128, 16)
    assert frames(whole.path).shape == (3, 5, 128, 128)
    assert frames(folder / 'whole_mask.mp4').shape == (3, 5, 128, 128)
    assert frames(folder / 'whole_comparison.mp4').shape == (
        3, 5, 128, 3 * 128 + 2 * 8)
    with Image.open(folder / 'whole_sheet.png') as sheet:
        assert sheet.width > 5 * 240


def test_the_audio_is_kept_and_cut(whole):
    info = probe(whole.path)
    assert info.has_audio
    assert info.duration == pytest.approx(5 / 16, abs=0.1)


def test_record_of_an_edit(whole):
    assert tuple(whole.seconds) == STAGES
    assert whole.seed == 7
    found = whole.results
    assert found['mask_on'] and found['reference_on']
    assert found['collage_on']
    assert found['edit']['edit_method'] == 'flowalign'
    assert found['edit']['sample_steps'] == 3
    assert found['reference']['ref_c'] == [0.3]
    assert [x for x in found['notes'] if 'colours' not in x] == [
        'Only the first 5 frames of the template (at 16 a second) are '
        'edited; the rest is dropped.']
    for name in ('background_psnr', 'background_ssim', 'motion_difference'):
        assert isinstance(found['metrics'][name], float)
    assert not [name for name in found['metrics'] if 'ceiling' in name]
    inside = embedded(whole.path)
    assert inside['results'] == whole.results
    assert inside['arguments'] == whole.arguments
    # All that was used, what nobody gave included.
    assert found['edit'].items() <= whole.arguments.items()
    assert found['reference'].items() <= whole.arguments.items()
    assert (whole.arguments['size'], whole.arguments['frame_num']) == (
        '128*128', 5)


def test_the_ceiling_is_measured_if_asked_for(base):
    metrics = base.record['metrics']
    assert metrics['ceiling_psnr'] > 0
    assert metrics['background_psnr_round_trip'] > 0


def test_without_measuring(edit):
    made = edit('--measure', 'false')
    assert made.round_trip is None
    assert 'metrics' not in made.record


# Settings


@pytest.mark.parametrize('name, text, value', (
    ('edit_method', 'flowedit', 'flowedit'), ('sample_steps', '4', 4),
    ('strength', '1', 1.0), ('sample_guide_scale', '3', 3.0),
    ('src_guide_scale', '2', 2.0), ('sample_shift', '2', 2.0),
    ('fg_zeta_scale', '.5', 0.5), ('bg_zeta_scale', '.01', 0.01),
    ('collage_zeta_scale', '.1', 0.1), ('mask_grow', '1', 1),
    ('batch_branches', 'true', True), ('composite', 'yes', True),
    ('ref_c', '-.1', (-0.1,)), ('ref_layers', '1,2-3', '1,2-3'),
    ('ref_steps', '0-0.5', '0-0.5'), ('ref_branches', 'split', 'split'),
    ('ref_guide_scale', '3', 3.0), ('ref_rope', 'box', 'box'),
    ('ref_t', '0.3,0.6', '0.3,0.6'), ('ref_noised', 'true', True),
    ('ref_stats', 'full', 'full'), ('ref_key_mask', 'no', False),
    ('ref_query_mask', 'no', False)))
def test_every_setting_reaches_the_pipeline_and_the_record(
        checkpoint, media, name, text, value):
    job = prepared(*edit_flags(
        checkpoint, media, media / 'x.mp4', f'--{name}={text}'))
    kind = EditConfig if hasattr(EditConfig, name) else RefConfig
    plain = EditConfig(sample_steps=3) if kind is EditConfig else RefConfig()
    wanted = replace(plain, **{name: value})
    if kind is EditConfig:
        wanted = wanted.resolved(job.checkpoint.config)
    assert job.settings[kind] == wanted
    assert job.record.arguments[name] == value
    handed = {}

    class Spy:
        runtime = job.runtime

        def together(self, edits):
            for edit in edits:
                next(edit)

        def editing(self, **given):
            handed.update(given)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.run(job, Spy())
    assert handed['edit' if kind is EditConfig else 'ref'] == wanted


@pytest.mark.parametrize('name, more', (
    ('fg_zeta_scale', NO_COLLAGE),
    ('bg_zeta_scale', (*NO_COLLAGE, '--use_mask', 'false', '--src_mask', ''))))
def test_a_stronger_pull_keeps_more_of_the_template(edit, base, name, more):
    weak, strong = (edit(*more, f'--{name}', zeta) for zeta in (0, 1))
    assert apart(strong.video, base.round_trip) < apart(
        weak.video, base.round_trip)


def test_a_stronger_edit_changes_more(edit, base):
    little, much = (
        edit(*NO_COLLAGE, '--strength', x) for x in (0.34, 1))
    assert (little.job.work.steps, much.job.work.steps) == (1, 3)
    assert 0 < apart(little.video, base.round_trip) < apart(
        much.video, base.round_trip)


@pytest.mark.parametrize('more', (
    ('--sample_guide_scale', 0), ('--target_prompt', SOURCE)))
def test_without_a_direction_the_template_comes_back(edit, base, more):
    made = edit('--use_reference', 'false', *more)
    assert torch.equal(made.video, base.round_trip)


def test_composite_leaves_all_but_the_surroundings(edit):
    made = edit('--composite')
    outside = (feather(made.mask, 16) == 0)[0]
    assert outside.float().mean() > 0.1
    assert torch.equal(
        made.video[:, 0, outside], made.job.work.data.clip[:, 0, outside])


def test_the_mask_grows_by_cells(edit):
    narrow, wide = (edit(*NO_COLLAGE, '--mask_grow', n) for n in (0, 1))
    assert (narrow.mask.sum(), wide.mask.sum()) == (64**2, 80**2)


@pytest.mark.parametrize('more', (
    ('--use_reference', 'false'), ('--ref_c', '0'), ('--ref_layers', ''),
    ('--ref_steps', '0-0')))
def test_without_reference_the_text_alone_edits(edit, base, more):
    plain = edit(*NO_COLLAGE, '--use_reference', 'false')
    made = edit(*NO_COLLAGE, *more)
    assert not made.record['reference_on']
    assert torch.equal(made.video, plain.video)


def test_a_smaller_weight_is_nearer_to_no_photo(edit):
    none, little, much = (
        edit(*NO_COLLAGE, '--ref_c', c).video for c in (0, 0.05, 0.9))
    assert 0 < apart(none, little) < apart(none, much)


@pytest.mark.parametrize('more', (
    ('--ref_rope', 'spatial'), ('--ref_layers', '0-3'),
    ('--attention', 'auto')))
def test_what_must_not_matter_to_one_frame(edit, base, more):
    assert torch.equal(edit(*more).video, base.video)


def test_branches_in_one_batch(edit):
    single, batch = (
        edit('--batch_branches', value, '--dtype', 'float32')
        for value in ('false', 'true'))
    assert apart(single.video, batch.video) < 0.01
    assert (single.job.work.batch, batch.job.work.batch) == (1, 3)


@pytest.mark.parametrize('preset', PRESETS)
def test_a_preset_is_a_default(checkpoint, media, preset):
    flags = edit_flags(
        checkpoint, media, media / 'x.mp4', '--ref_preset', preset)
    for name, value in PRESETS[preset].items():
        assert prepared(*flags).settings.flat()[name] == value
    given = prepared(*flags, '--ref_c', '0.25', '--sample_guide_scale', '4')
    assert given.settings[RefConfig].ref_c == (0.25,)
    assert given.settings[EditConfig].sample_guide_scale == 4.0


@pytest.mark.parametrize('method', EDIT_METHODS)
def test_each_method_has_its_guidance(checkpoint, media, monkeypatch, method):
    flags = edit_flags(
        checkpoint, media, media / 'x.mp4', '--edit_method', method)

    def scale():
        return prepared(*flags).settings[EditConfig].sample_guide_scale

    papers = EDIT_METHODS[method].guide_scale
    own = WAN_CONFIGS['t2v-tiny'].defaults['edit_guide_scales']
    assert own == {'flowalign': 7.5}
    assert scale() == own.get(method, papers)
    monkeypatch.setitem(WAN_CONFIGS['t2v-tiny'].defaults,
                        'edit_guide_scales', {})
    assert scale() == papers == EditConfig(
        edit_method=method).resolved({}).sample_guide_scale


@pytest.mark.parametrize('more, on', (
    ((), True), (NO_COLLAGE, False), (('--src_mask', ''), True),
    (('--use_mask', 'false'), False), (('--edit_method', 'sdedit'), False),
    (('--use_reference', 'false'), False)))
def test_the_record_tells_whether_the_collage_was_used(edit, more, on):
    assert edit(*more).record['collage_on'] == on


def test_reverse_starts_from_the_given_clip(edit, base):
    clip = base.job.settings[EditInputs].src_video
    still = ('--use_reference', 'false', '--sample_guide_scale', 0)
    made = edit(*still, '--reverse', clip)
    # From the template itself, without a direction, to the template.
    data = made.job.work.data
    assert torch.equal(data.reverse_from, data.clip)
    assert torch.equal(made.video, base.round_trip)
    turned = replace(made.job, work=replace(made.job.work, data=replace(
        data, reverse_from=-data.clip)))
    assert apart(jobs.run(turned).video, base.round_trip) > 0.02


@pytest.mark.parametrize('zeta, said', ((0.01, False), (0.1, True)))
def test_a_reverse_that_cannot_be_exact_is_said(
        checkpoint, media, zeta, said):
    notes = prepared(*edit_flags(
        checkpoint, media, media / 'x.mp4', '--reverse', media / 'clip.mp4',
        *PLAIN, '--bg_zeta_scale', zeta)).work.notes
    assert any('erases the way back' in note for note in notes) == said


def test_bank_is_filled_once(
        edit, media, tmp_path, monkeypatch, capsys, checkpoint):
    bank = tmp_path / 'product.safetensors'
    first = edit('--ref_bank', bank)
    before = bank.read_bytes()

    def again(*args):
        raise AssertionError('captured again')

    monkeypatch.setattr('wan.refdrop.photos.capture', again)
    assert torch.equal(edit('--ref_bank', bank).video, first.video)
    assert bank.read_bytes() == before
    said = failure(capsys, 2, edit_flags(
        checkpoint, media, tmp_path / 'third.mp4', '--ref_bank', bank,
        '--target_prompt', 'a silver bag'))
    assert f'The bank {bank} cannot be used: it was made from another prompt' \
        in said
    assert not (tmp_path / 'third.mp4').exists()


def test_experiment_file_with_flags_overriding(
        checkpoint, media, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = media / 'experiment.yaml'
    file.write_text(f"""
video:
  video_path: clip.mp4
  source_prompt: {SOURCE}
  target_prompt: {TARGET}
  target_image: [cut.png, plain.png]
  target_mask: [mask.png, mask.png]
  frame_num: 1
flowalign:
  strength: 0.9
  num_inference_steps: 4
  target_guidance_scale: 13.5
  flag_attnmask: false
  ref_c: [0.2, -0.1]
""")
    path = tmp_path / 'edit.mp4'
    made = result(generate.main([
        '--config', str(file), '--ckpt_dir', str(checkpoint), '--strength',
        '0.5', '--save_comparison', 'no', '--save_file', str(path)]), path)
    assert made['arguments']['task'] == 'pvtt'
    settings = made['results']['edit']
    assert (settings['strength'], settings['sample_steps'],
            settings['sample_guide_scale']) == (0.5, 4, 13.5)
    assert made['results']['reference']['ref_c'] == [0.2, -0.1]
    assert made['results']['mask_on'] is False


# The plan is what is done


@pytest.mark.parametrize('more', (
    (), ('--src_mask', ''), PLAIN, ('--measure', 'false'),
    ('--edit_method', 'sdedit', '--use_mask', 'false'),
    ('--ref_layers', ''), ('--ref_branches', 'split', '--batch_branches'),
    ('--ref_t', 'match', '--src_mask', ''), ('--ref_c', '0')))
def test_the_plan_names_the_stages_of_the_run(
        checkpoint, media, tmp_path, capsys, more):
    path = tmp_path / 'edit.mp4'
    flags = edit_flags(checkpoint, media, path, *more)
    with nothing_changes(tmp_path):
        assert generate.main([*flags, '--dry_run']) == 0
    plan = capsys.readouterr().out
    stages = re.search(r'^stages +(.*)$', plan, re.MULTILINE)[1].split(', ')
    assert list(result(generate.main(flags), path)['seconds']) == stages


@pytest.mark.parametrize('more, captures', (
    *((('--edit_method', method, *PLAIN), 0) for method in EDIT_METHODS),
    (('--ref_branches', 'split'), 1), (('--ref_branches', 'target'), 1)))
def test_the_plan_counts_the_evaluations(edit, more, captures):
    pipe = running.load(edit(*more).job)
    counted = []
    hook = pipe.model.register_forward_hook(lambda *_: counted.append(1))
    work = edit(*more).job.work
    hook.remove()
    assert len(counted) == work.steps * work.evaluations + captures


def test_the_plan_counts_batch_and_bank(checkpoint, media):
    def sampling(*more):
        job = prepared(*edit_flags(
            checkpoint, media, media / 'x.mp4', '--dtype', 'float32', *more))
        return Memory(job).sampling

    text = sampling('--use_reference', 'false')
    photo = sampling()
    # 64 tokens of one frame, their keys and values in 4 blocks of 96.
    assert photo - text == 64 * 2 * 96 * 4 * 4
    assert sampling('--batch_branches') > photo


# Faults and interruptions


@pytest.fixture
def target(tmp_path):
    r"""A result of an earlier run."""
    folder = tmp_path / 'out'
    folder.mkdir()
    for name in ('x.mp4', 'x_mask.mp4'):
        (folder / name).write_text(f'old {name}')
    write_record(folder / 'x.json', {'text': 'old record'})
    return folder / 'x.mp4'


@pytest.mark.parametrize('when', ('entering', 'leaving'))
@pytest.mark.parametrize('stage', STAGES)
def test_interrupted_at_every_stage(
        checkpoint, media, target, capsys, monkeypatch, stage, when):
    interrupt(monkeypatch, stage, when)
    with nothing_changes(target.parent):
        said = failure(capsys, 130, edit_flags(
            checkpoint, media, target, '--src_mask', ''))
    assert said == 'interrupted; nothing was written'


@pytest.mark.parametrize('size', (2000, 15000))
def test_disk_full_while_writing(checkpoint, media, target, capsys, size):
    # The larger limit takes the video but not what belongs to it.
    with nothing_changes(target.parent), small_disk(size):
        said = failure(capsys, 1, edit_flags(
            checkpoint, media, target, '--save_comparison', 'true'))
    assert 'OSError' in said


def test_a_rerun_leaves_no_file_of_the_edit_before(
        checkpoint, media, tmp_path):
    def files(*more):
        assert generate.main(edit_flags(
            checkpoint, media, tmp_path / 'again.mp4', *more)) == 0
        return {p.name for p in tmp_path.glob('again*')}

    assert {'again_mask.mp4', 'again_sheet.png'} <= files(
        '--save_comparison', 'true')
    assert files('--use_mask', 'false', '--src_mask', '') == {
        'again.mp4', 'again.json'}
