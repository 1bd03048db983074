r"""From what is given to a checked job: what is refused, what is noted."""
import pytest

from tests.cli import failure, nothing_changes, prepared
from tests.edits import SOURCE, edit_flags
from wan import jobs
from wan.jobs.settings import JobSettings
from wan.jobs.text import TextSettings
from wan.runtime import Runtime
from wan.tasks import TASKS

BY_PROMPT = ', '.join(name for name in TASKS if name != 'pvtt')
TEXT = ('--task', 't2v-tiny', '--frame_num', 1, '--sample_steps', 2,
        '--prompt', 'a vase')
# That take a prompt.
TAKERS = ', '.join(
    name for name, row in TASKS.items() if TextSettings in row.settings)


@pytest.mark.parametrize('task, flag, takers', (
    ('t2v-tiny', '--ref_c=0.5', 'pvtt'),
    ('t2v-tiny', '--src_video=nowhere.mp4',
     'vace-1.3B, vace-14B, pvtt'),
    ('t2v-tiny', '--edit_method=flowedit', 'pvtt'),
    ('t2v-tiny', '--image=a.png', 'i2v-14B'),
    ('t2v-tiny', '--last_frame=a.png', 'flf2v-14B, pvtt'),
    ('pvtt', '--sample_solver=dpm++', TAKERS),
    ('pvtt', '--prompt=x', TAKERS)))
def test_a_setting_of_another_task_is_refused(
        shell, media, tmp_path, capsys, task, flag, takers):
    flags = edit_flags(shell, media, tmp_path / 'x.mp4') if task == 'pvtt' \
        else [*TEXT, '--ckpt_dir', shell, '--save_file', tmp_path / 'x.mp4']
    with nothing_changes(tmp_path):
        said = failure(capsys, 2, [*flags, flag])
    name = flag.strip('-').partition('=')[0]
    assert said == (
        f'{name} is not a setting of task {task}; it is one of {takers}.')


@pytest.mark.parametrize('name, given, told', (
    ('t2v-tiny', {'prompts': 'x'}, "There is no setting 'prompts'; did you "
     "mean 'prompt'?"),
    ('t2v-15B', {}, f"task is 't2v-15B', allowed: {', '.join(TASKS)}."),
    ('t2v-tiny', {'frame_num': 4.5}, 'frame_num is 4.5, expected a whole'),
    ('t2v-tiny', {'frame_num': True}, 'frame_num is True, expected a whole'),
    ('t2v-tiny', {'size': '1*1'}, "size is '1*1', allowed: 720*1280"),
    ('t2v-tiny', {'attention': 'sage'}, "attention is 'sage', allowed: auto")))
def test_a_caller_in_python_is_told_the_same(shell, name, given, told):
    with pytest.raises(ValueError) as caught:
        jobs.prepare(TASKS, name, {'ckpt_dir': shell, **given})
    assert told in str(caught.value)


def test_flags_and_a_caller_in_python_give_one_job(shell, tmp_path):
    path = tmp_path / 'x.mp4'
    by_flags = prepared(*TEXT, '--ckpt_dir', shell, '--save_file', path,
                        '--base_seed', 3, '--t5_cpu')
    by_hand = jobs.prepare(TASKS, 't2v-tiny', {
        'ckpt_dir': shell, 'save_file': path, 'base_seed': 3, 't5_cpu': True,
        'frame_num': 1, 'sample_steps': 2, 'prompt': 'a vase',
        'n_prompt': None})
    assert by_flags.settings.values == by_hand.settings.values
    assert by_flags.record.arguments == by_hand.record.arguments
    assert by_hand.settings[JobSettings].base_seed == 3
    assert by_hand.settings[TextSettings].sample_solver == 'unipc'
    assert by_hand.runtime == Runtime(t5_cpu=True).resolved()


def test_two_jobs_keep_their_own_machine(shell, tmp_path):
    r"""Checking one changes nothing for another."""
    first, second = (
        prepared(*TEXT, '--ckpt_dir', shell, '--attention', name,
                 '--save_file', tmp_path / 'x.mp4')
        for name in ('math', 'sdpa'))
    assert (first.runtime.attention, second.runtime.attention) == (
        'math', 'sdpa')


# Given, but switched off


@pytest.mark.parametrize('flags, told', (
    (('--n_prompt', 'x', '--sample_guide_scale', 1),
     'n_prompt has no effect: sample_guide_scale 1 is without guidance.'),
    (('--prompt_extend_model', 'x', '--prompt_extend_target_lang', 'en'),
     'prompt_extend_model, prompt_extend_target_lang have no effect: '
     'use_prompt_extend is off.')))
def test_what_does_nothing_to_a_text_job_is_said(
        shell, tmp_path, flags, told):
    job = prepared(*TEXT, '--ckpt_dir', shell, '--save_file',
                   tmp_path / 'x.mp4', *flags)
    assert job.work.notes == (told,)


OFF = ('--collage_zeta_scale', 0)


@pytest.mark.parametrize('flags, told', (
    (('--fg_zeta_scale', 0), 'fg_zeta_scale has no effect: inside the mask '
     'the collage pulls (collage_zeta_scale), not the template.'),
    (('--fg_zeta_scale', 0, *OFF), None),
    (('--edit_method', 'flowedit', '--fg_zeta_scale', 0, '--bg_zeta_scale',
      0), 'fg_zeta_scale, bg_zeta_scale have no effect: only flowalign pulls '
     'toward the template.'),
    (('--edit_method', 'sdedit', *OFF), 'collage_zeta_scale has no effect: '
     'only flowalign pulls toward the template.'),
    (('--collage', 'turning', '--edit_method', 'flowedit'),
     'collage has no effect: no photo is pasted: that needs a photo, '
     'use_mask, and refine, or flowalign with a collage_zeta_scale above 0.'
     ),
    (('--collage', 'upright', '--view_angles', 0, *OFF),
     'collage, view_angles have no effect: no photo is pasted: that needs a '
     'photo, use_mask, and refine, or flowalign with a collage_zeta_scale '
     'above 0.'),
    (('--collage_detail', 'true', *OFF), 'collage_detail has no effect: no '
     'photo is pasted: that needs a photo, use_mask, and refine, or flowalign '
     'with a collage_zeta_scale above 0.'),
    (('--collage_detail', 'true'), None),
    (('--collage', 'off'), None), (('--collage', 'auto'), None),
    (('--view_frame', 0), 'view_frame has no effect: only collage turning and '
     'auto turn the photo.'),
    (('--view_frame', 0, '--collage', 'turning'), None),
    (('--src_guide_scale', 2),
     'src_guide_scale has no effect: only flowedit guides the source.'),
    (('--src_guide_scale', 2, '--edit_method', 'flowedit'), None),
    (('--n_prompt', 'x'),
     "n_prompt has no effect: flowalign's negative is source_prompt."),
    (('--n_prompt', 'x', '--edit_method', 'sdedit'), None),
    (('--use_reference', 'false', '--ref_t', '.6'),
     'ref_t, target_image have no effect: use_reference is false.'),
    (('--ref_c', 0, '--ref_t', '.6', '--ref_gate', 'joint'),
     'ref_gate, ref_t have no effect: every ref_c is 0.'),
    (('--ref_guide_scale', 3), 'ref_guide_scale has no effect: only '
     'ref_branches split has a guidance of its own.'),
    (('--ref_guide_scale', 3, '--ref_branches', 'split'), None),
    (('--ref_noised', 'true'),
     'ref_noised has no effect: ref_t 0 has no noise.'),
    (('--ref_noised', 'true', '--ref_t', '.6'), None),
    (('--source_blend', SOURCE.split()[1]), 'source_blend has no effect: '
     'src_mask says where the product is.'),
    (('--mask_grow', 1), None),
    (('--mask_grow', 1, '--src_mask', ''), None),
    (('--use_mask', 'false', '--composite', '--target_blend', 'watch'),
     'src_mask, target_blend, composite have no effect: use_mask is false.'),
    (('--ref_preset', 'best'), None),
    (('--ref_preset', 'best', '--src_mask', ''), None),
    (('--ref_preset', 'best', *OFF), 'ref_preset best is made for the '
     'collage, which is off here: it needs a photo and use_mask.'),
    (('--ref_preset', 'relight'), None), (('--ref_preset', 'solid'), None),
    (('--ref_preset', 'solid', '--collage', 'off'), 'ref_preset solid is '
     'made for the collage, which is off here: it needs a photo and '
     'use_mask.'),
    (('--ref_preset', 'gentle', '--src_mask', ''), None),
    (('--ref_preset', 'phantom'), None),
    (('--ref_preset', 'strong', '--use_reference', 'false', '--target_image',
      ''), 'ref_preset strong is made for a photo, but use_reference is '
     'false.')))
def test_what_does_nothing_to_an_edit_is_said(
        shell, media, tmp_path, flags, told):
    job = prepared(*edit_flags(shell, media, tmp_path / 'x.mp4', *flags))
    notes = [note for note in job.work.notes
             if 'first frame' not in note and 'colours' not in note]
    assert notes == ([told] if told else [])
    if told:
        assert f'note         {told}' in jobs.plan(job)
