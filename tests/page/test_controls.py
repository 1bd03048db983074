r"""Controls made from the settings of a task, and what is read from them."""
import pytest

from wan.edit_config import PRESETS, EditConfig
from wan.jobs.extension import ExtensionSettings
from wan.runtime import PARALLEL
from wan.tasks import TASKS
from wan.utils.flags import names

# The folder of that name is a program of ours.
pytest.importorskip(
    'gradio.blocks', reason='the page needs gradio (extra ui)')
gr = pytest.importorskip('gradio')

from wan.page.controls import (  # noqa: E402
    AS_USUAL,
    NEVER,
    component,
    controls_of,
    differing,
    grouped,
    shown,
)
from wan.page.form import Form, setting_of  # noqa: E402
from wan.page.pvtt_tab import WAYS  # noqa: E402

pytestmark = pytest.mark.usefixtures('loops')


def controls(task='pvtt', **own):
    row = TASKS[task]
    return {c.name: c for c in controls_of(row, row.defaults({}, {}), **own)}


def built(name, task='pvtt', **own):
    with gr.Blocks(analytics_enabled=False):
        return component(controls(task, **own)[name])


@pytest.mark.parametrize('task', TASKS)
def test_every_setting_has_a_control_but_those_of_the_server(task):
    kept = controls(task, local=True)
    assert set(kept) == set(names(*TASKS[task].kinds)) - set(NEVER)
    assert set(PARALLEL) <= set(NEVER)


@pytest.mark.parametrize('task', TASKS)
def test_every_control_can_be_built_and_has_a_name_and_help(task):
    with gr.Blocks(analytics_enabled=False):
        for control in controls(task, local=True).values():
            assert component(control).label
            assert control.text.endswith('.')


def test_files_of_the_server_are_for_local_visitors_alone():
    assert 'mask_model' not in controls()
    assert isinstance(built('mask_model', local=True), gr.Textbox)


def test_the_kind_of_a_setting_is_that_of_its_control():
    assert isinstance(built('use_mask'), gr.Checkbox)
    assert isinstance(built('ref_rope'), gr.Dropdown)
    assert isinstance(built('src_mask'), gr.File)
    assert isinstance(built('base_seed'), gr.Textbox)
    slider = built('mask_grow')
    assert isinstance(slider, gr.Slider)
    assert (slider.minimum, slider.maximum, slider.step) == (0, 16, 1)


def test_small_defaults_have_small_steps():
    assert built('fg_zeta_scale').step == 0.001
    assert built('bg_zeta_scale').step == 0.01


def test_what_may_be_left_open_is_called_so():
    choices = built('offload_model').choices
    assert choices == [(AS_USUAL, ''), ('yes', 'true'), ('no', 'false')]
    assert (AS_USUAL, '') not in built('edit_method').choices


def test_several_files_are_told_without_how_they_are_typed():
    assert controls()['target_image'].several
    assert controls()['target_image'].text == 'Photos of the new product.'


def test_groups_are_named_after_what_one_wants():
    groups = grouped(list(controls().values()))
    assert 'mask_grow' in [c.name for c in groups['Where the product is']]
    assert 'ref_preset' in [c.name for c in groups['How the photo is read']]
    assert all(group for group in groups.values())


def given(values, base=None, task='pvtt'):
    kept = controls(task)
    return differing(
        [kept[name] for name in values], list(values.values()), base or {})


def test_what_is_as_usual_is_not_given():
    usual = {name: shown(control, control.default)
             for name, control in controls().items()}
    assert given(usual) == {}


def test_what_differs_is_given():
    assert given({'strength': 0.7, 'mask_grow': 3, 'fit': 'pad',
                  'source_prompt': ' a cup '}) == {
        'mask_grow': 3, 'fit': 'pad', 'source_prompt': 'a cup'}


def test_a_number_is_the_same_in_another_writing():
    assert given({'sample_shift': '5'}) == {}
    assert given({'sample_shift': 'five'}) == {'sample_shift': 'five'}


def test_a_preset_goes_before_the_defaults():
    base = PRESETS['strong']
    assert given({'ref_t': '0.6'}, base) == {}
    assert given({'ref_t': '0'}, base) == {'ref_t': '0'}


@pytest.mark.parametrize('text, name', (
    ('src_video is missing.', 'src_video'),
    ('The number of steps is 0, allowed is 1 or more.', 'sample_steps'),
    ('mask_grow is 17, allowed is 0 to 16.', 'mask_grow'),
    ('src_mask a.png has the shape of src_video.', 'src_mask'),
    ('Nothing that it names.', None)))
def test_a_sentence_belongs_to_the_first_setting_that_it_names(text, name):
    assert setting_of(text, list(controls())) == name


def form():
    with gr.Blocks(analytics_enabled=False):
        made = Form(TASKS['pvtt'], {}, False, {'ref_preset': 'best'})
        made.main('source_prompt')
        made.advanced(but=names(ExtensionSettings))
        made.conclude()
    return made


def test_a_form_has_all_settings_but_those_left_out():
    made = form()
    assert 'use_prompt_extend' not in made.names
    assert set(names(EditConfig)) <= set(made.names)
    assert made.components['ref_preset'].value == 'best'


def test_a_problem_is_told_at_its_field_and_opens_its_group():
    made = form()
    updates = dict(zip(made.told, made.problem('mask_grow is 17.'),
                       strict=True))
    shows = [name for name, html in made.problems.items()
             if updates[html].get('visible')]
    assert shows == ['mask_grow']
    assert updates[made.folds['mask_grow']] == gr.update(open=True)
    assert 'mask_grow is 17.' in updates[made.summary]['value']
    assert not any(update.get('visible') for update in made.problem()
                   if isinstance(update, dict))


def test_what_is_wrong_is_escaped():
    made = form()
    assert '<img' not in str(made.problem('source_prompt is <img src=x>.'))


def test_a_form_is_filled_and_read_back(tmp_path):
    made = form()
    settings = {'source_prompt': 'a cup', 'strength': 0.5, 'use_mask': False,
                'ref_preset': 'gentle', 'mask_grow': 2}
    filled = [update['value'] for update in made.filled(settings)]
    assert made.given(filled, lambda file, kind: file) == {
        **settings, 'strength': '0.5'}


def test_files_are_taken_over_and_refused_by_name():
    made = form()
    values = {name: None for name in made.names} | {
        'use_mask': True, 'target_image': ['a.png', 'b.png']}

    def accept(file, kind):
        if kind == 'mask':
            raise ValueError('b.txt is no picture.')
        return f'/kept/{file}'

    assert made.given(list(values.values()), accept)['target_image'] == (
        '/kept/a.png', '/kept/b.png')
    values['src_mask'] = 'b.txt'
    with pytest.raises(ValueError, match='src_mask: b.txt is no picture.'):
        made.given(list(values.values()), accept)


def test_a_form_begins_with_what_its_preset_says():
    with gr.Blocks(analytics_enabled=False):
        made = Form(TASKS['pvtt'], {}, False, {'ref_preset': 'relight'})
        made.advanced()
    assert [made.components[name].value for name in (
        'edit_method', 'strength', 'collage_detail')] == [
            'refine', '0.5', True]
    values = [component.value for component in made.inputs]
    assert made.given(values, None) == {'ref_preset': 'relight'}


def test_each_preset_has_its_words():
    assert set(WAYS) == {'', *PRESETS}
