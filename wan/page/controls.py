r"""Controls out of a task's row: a setting says all that its control needs.

The name, the help, the default, the range and the choices are those of the
dataclass; nothing about a setting stands here a second time.
"""
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from ..edit_config import EditConfig
from ..jobs.edit_masks import CutoutConfig, MaskConfig
from ..jobs.edit_output import OutputSettings
from ..jobs.edit_settings import EditInputs, EditOptions
from ..jobs.extension import ExtensionSettings
from ..jobs.image import EndSettings, ImageSettings
from ..jobs.settings import JobSettings
from ..jobs.task import Task
from ..jobs.text import TextSettings
from ..jobs.vace import VaceSettings
from ..refdrop.config import RefConfig
from ..runtime import PARALLEL, Runtime
from ..sparse import SparseConfig
from ..step_cache import StepCacheConfig
from ..utils.flags import argument_help, heading, kinds, parse
from ..windows import WindowConfig

# What one wants of the settings of a class; others have their own heading.
INTENTS = {
    EditInputs: 'What goes in', TextSettings: 'What to show, and how long',
    ImageSettings: 'What goes in', EndSettings: 'What goes in',
    VaceSettings: 'What goes in',
    MaskConfig: 'Where the product is', CutoutConfig: 'Where the product is',
    EditConfig: 'How strongly it is edited',
    RefConfig: 'How the photo is read',
    OutputSettings: 'What comes out', EditOptions: 'What comes out',
    JobSettings: 'What comes out',
    WindowConfig: 'Long videos',
    SparseConfig: 'Speed and memory', StepCacheConfig: 'Speed and memory',
    Runtime: 'Speed and memory',
    ExtensionSettings: 'Prompts by a language model',
}
# Settings that are wanted for something else than the rest of their class.
MOVED = {
    **dict.fromkeys(('target_mask', 'source_blend', 'target_blend',
                     'mask_grow', 'use_mask'), 'Where the product is'),
    **dict.fromkeys(('use_reference', 'ref_preset'), 'How the photo is read'),
    **dict.fromkeys(('n_prompt', 'reverse'), 'How strongly it is edited'),
    **dict.fromkeys(('first_frame', 'last_frame', 'context_scale'),
                    'For checkpoints of other types'),
    'batch_branches': 'Speed and memory'}
# The server's own, or those of several processes and of files that a visitor
# has no use for.
NEVER = ('ckpt_dir', 'save_file', 'overwrite', 'template', 'ref_bank',
         *PARALLEL)
# Files on the machine of the server.
LOCAL = ('mask_model', 'cutout_model', 'prompt_extend_model')
# What is in a file of a setting, of `uploads.KINDS`.
FILES = {
    'src_video': 'video', 'reverse': 'video', 'src_mask': 'mask',
    'target_mask': 'mask'}
# Kinds of files as a file chooser knows them.
CHOOSER = {
    'video': ['video'], 'image': ['image'], 'mask': ['image', 'video']}
AS_USUAL = 'as usual'  # what a choice is called that is left open
FINE = 0.1  # ranges from here on have steps of a hundredth


@dataclass(frozen=True)
class Control:
    r"""What a setting needs to be shown.

    Args:
        name: of the setting.
        kind: of its values.
        text: its help.
        default: its value where nothing is given.
        intent: heading of the controls it stands with.
        choices: names that it may be, if only a few.
        bounds: lowest and highest number, if it has any.
        file: what is in the files that it names, of `uploads.KINDS`; '' if
            it names none that can be uploaded.
    """
    name: str
    kind: object
    text: str
    default: object
    intent: str
    choices: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    file: str = ''

    @property
    def label(self) -> str:
        r"""The setting's name, in which the words are set apart."""
        return self.name.replace('_', ' ')

    @property
    def several(self) -> bool:
        r"""Whether it takes a list of files."""
        return bool(self.file) and self.kind == tuple[str, ...]


def controls_of(
    row: Task, defaults: Mapping[str, object] | None = None,
    local: bool = False,
) -> list[Control]:
    r"""The controls of a task, each setting once, in the row's order.

    Args:
        defaults: that go before those of the fields.
        local: whether visitors may name files of this machine.
    """
    found: dict[str, Control] = {}
    for cls in row.kinds:
        texts, types = argument_help(cls), kinds(cls)
        for field in dataclasses.fields(cls):
            name, own = field.name, field.metadata
            if name in found or name in NEVER or (
                    name in LOCAL and not local):
                continue
            text = texts.get(name, '')
            if types[name] == tuple[str, ...]:  # how it is typed, behind ';'
                text = text.partition(';')[0]
            found[name] = Control(
                name, types[name], sentence(text),
                (defaults or {}).get(name, field.default),
                _intent(row, cls, name), own.get('choices') or (),
                own.get('range'), FILES.get(name, 'image')
                if 'path' in own and name not in LOCAL else '')
    return list(found.values())


def _intent(row: Task, cls: type, name: str) -> str:
    r"""The heading that a setting stands under."""
    if EditInputs in row.settings and name in MOVED:
        return MOVED[name]
    return INTENTS.get(cls, heading(cls))


def sentence(text: str) -> str:
    r"""Help with a capital letter and a full stop."""
    return text[:1].upper() + text[1:].rstrip('.') + '.' if text else ''


def grouped(controls: Sequence[Control]) -> dict[str, list[Control]]:
    r"""By their intent, in the order of the first of each."""
    groups: dict[str, list[Control]] = {}
    for control in controls:
        groups.setdefault(control.intent, []).append(control)
    return groups


def component(control: Control, **own: object) -> Component:
    r"""The control on a page.

    Args:
        own: of the component, in place of what the setting says.
    """
    given = {'label': control.label, 'info': control.text,
             'value': shown(control, control.default), **own}
    if control.file:
        del given['info'], given['value']
        given['label'] = own.get('label') or \
            f'{control.label}: {control.text}'.rstrip('.')
        given.pop('lines', None)
        return gr.File(
            file_count='multiple' if control.several else 'single',
            file_types=CHOOSER[control.file], type='filepath', height=150,
            **given)
    if control.choices or control.kind is bool and control.default is None:
        return gr.Dropdown(_options(control), **given)
    if control.kind is bool:
        return gr.Checkbox(**given)
    if control.bounds:
        low, high = control.bounds
        step = 1 if control.kind is int else \
            0.01 if (control.default or 0) >= FINE or not control.default \
            else 0.001
        return gr.Slider(low, high, step=step, **given)
    # Numbers are text as well: a browser's own have 53 bits and no blank.
    return gr.Textbox(**{'max_lines': 4, **given})


def _options(control: Control) -> list[tuple[str, str]]:
    r"""What can be chosen, as it is read and as it is given."""
    names = control.choices or ('true', 'false')
    usual = [] if control.default in names else [(AS_USUAL, '')]
    words = {'true': 'yes', 'false': 'no'} if not control.choices else {}
    return usual + [(words.get(name, name), name) for name in names]


def shown(control: Control, value: object) -> object:
    r"""A setting's value as its component takes it."""
    if control.file:
        return value or None
    if control.kind is bool and control.default is not None:
        return bool(value)
    if control.bounds:
        return control.default if value is None else value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ','.join(f'{v:g}' if isinstance(v, float) else str(v)
                        for v in value)
    return '' if value is None else str(value)


def differing(
    controls: Sequence[Control], values: Sequence[object],
    base: Mapping[str, object],
) -> dict[str, object]:
    r"""The settings that a visitor has given: those that differ.

    Args:
        values: of the components, in the order of the controls.
        base: values by name that go before the controls' defaults.
    """
    given = {}
    for control, value in zip(controls, values, strict=True):
        if isinstance(value, str):
            value = value.strip()
        usual = base.get(control.name, control.default)
        if value not in (None, '', [], ()) and not _same(
                control, value, usual):
            given[control.name] = value
    return given


def _same(control: Control, value: object, usual: object) -> bool:
    r"""Whether a component's value means one of the setting."""
    if control.file:
        return False
    if value == shown(control, usual):
        return True
    try:
        return parse(control.name, control.kind, value) == usual
    except ValueError:
        return False  # which the command line's own check will tell of
