r"""A tab for each row of the task table, made from the row."""
from collections.abc import Mapping
from dataclasses import replace
from html import escape

import gradio as gr
from gradio.components import Component

from ..configs import SIZE_CONFIGS, WAN_CONFIGS
from ..jobs.checkpoint import SHAPE, Checkpoint
from ..tasks import TASKS
from ..utils.flags import heading
from . import sight
from .clip import clip
from .controls import Control
from .describing import unable
from .desk import Desk, Run
from .form import Form
from .mask_editor import MaskEditor, way_of
from .panel import THERE, Panel
from .photos import gallery
from .refill import Refill

# In sight where a task has them, with prompts and files.
SHORT = ('size', 'frame_num', 'base_seed')
WORDS = {
    'prompt': 'What to show', 'n_prompt': 'What not to show',
    'image': 'The first frame', 'first_frame': 'The first frame',
    'last_frame': 'The last frame', 'src_video': 'A video to keep in part',
    'src_ref_images': 'Images of what is to appear',
    'size': 'Size', 'frame_num': 'Frames', 'base_seed': 'Seed'}
EMPTY = '<div class="empty"><h2>What you will see here</h2><p>{}</p></div>'


class TaskTab:
    r"""Form and panel of a task, built where it is called.

    Args:
        desk: with the jobs.
        task: a key of `TASKS`.
        checkpoint: that all jobs run on.
    """

    def __init__(self, desk: Desk, task: str, checkpoint: Checkpoint):
        self.desk, self.task, row = desk, task, TASKS[task]
        self.checkpoint, lacks = checkpoint, lacking(task, checkpoint)
        config = checkpoint.config if not lacks else \
            WAN_CONFIGS.get(task, {})
        self.form = Form(row, config, desk.local)
        self._fitted(config, () if lacks else checkpoint.sizes)
        self.mask: MaskEditor | None = None
        self.sees = any(c.file for c in self.form.controls.values())
        with gr.Row(elem_classes='desk'):
            with gr.Column(scale=5, min_width=340, elem_classes='ask'):
                gr.HTML(f'<h2>{escape(heading(row.pipeline))}</h2>'
                        f'<p class="hint">{lacks}</p>')
                with gr.Row(elem_classes='begin'):
                    self.again = Refill(desk, task)
                self._inputs()
                with gr.Accordion('Advanced', open=False,
                                  elem_classes='advanced'):
                    self.form.advanced(but=unable(images=self.sees))
                with gr.Column(elem_classes='go'):
                    self.form.conclude()
                    with gr.Row():
                        self.look = gr.Button('See before you wait')
                        self.make = gr.Button('Make it', variant='primary')
            with gr.Column(scale=6, min_width=340, elem_classes='see'):
                self.panel = Panel(desk, task, EMPTY.format(
                    'First what the model gets to see and how much memory it '
                    'needs; then the result while it is made.'))
        self._events()

    def _fitted(self, config: Mapping[str, object], sizes) -> None:
        r"""Give controls what the checkpoint says of their settings."""
        controls, sizes = self.form.controls, sizes or SIZE_CONFIGS
        if size := controls.get('size'):
            controls['size'] = replace(
                size, choices=tuple(sizes),
                default=size.default if size.default in sizes else None)
        if negative := controls.get('n_prompt'):
            controls['n_prompt'] = replace(
                negative, default=config.get('sample_neg_prompt', ''))

    def _inputs(self) -> None:
        controls = self.form.controls
        with gr.Row(elem_classes='files'):
            for control in controls.values():
                if control.file and control.name != 'src_mask':
                    with gr.Column(min_width=200):
                        self._file(control)
        if {'src_video', 'src_mask'} <= set(controls):
            self.mask = MaskEditor(
                self.desk, self.form, self.form.components['src_video'])
        if prompt := controls.get('prompt'):
            self.form.main(
                'prompt', label=WORDS['prompt'], lines=3, value='',
                placeholder=prompt.default or '', info=None)
        if 'n_prompt' in controls:
            self.form.main(
                'n_prompt', label=WORDS['n_prompt'], lines=2, info=None)
        with gr.Row():
            for name in filter(controls.__contains__, SHORT):
                self.form.main(name, label=WORDS[name])

    def _file(self, control: Control) -> Component:
        label = WORDS.get(control.name, control.label)
        if control.several:
            placed = gallery(label)
        elif control.file == 'video':
            placed = clip(label)
        else:
            placed = gr.Image(
                type='filepath', image_mode=None, sources=['upload'],
                label=label, height=230, buttons=[])
        self.form.place(control.name, placed)
        gr.HTML(f'<p class="hint">{control.text}</p>')
        return placed

    @property
    def values(self) -> list[Component]:
        r"""All that a job is made of."""
        way = [self.mask.way] if self.mask else []
        return [*way, *self.form.inputs]

    def _events(self) -> None:
        own = {'api_visibility': 'private', 'concurrency_limit': None,
               'show_progress': 'hidden'}
        said = self.form.told
        self.make.click(
            self._make, self.values, [*self.panel.outputs, *said], **own)
        for button in (self.look, self.make):
            button.click(None, js=THERE, **own)
        self.again.fills(self.form, self.values, self.filled)
        self.look.click(
            self._look, self.values, [self.panel.view, *said], **own)

    def filled(self, settings: Mapping[str, object]) -> list[object]:
        r"""Updates of `values` to given settings."""
        way = [way_of(settings)] if self.mask else []
        return [*way, *self.form.filled(settings)]

    def _make(self, request: gr.Request, *values) -> list[object]:
        return self.form.tried(
            self.desk, len(self.panel.outputs), lambda: self.panel.begin(
                Run(self.task, self.task, self.given(values, request), None),
                request))

    def _look(self, request: gr.Request, *values) -> list[object]:
        return self.form.tried(self.desk, 1, lambda: [sight.look(sight.prepared(
            self.task, self.given(values, request),
            self.desk.folder(request), str(self.checkpoint.folder)))])

    def given(self, values, request: gr.Request) -> dict[str, object]:
        r"""The settings of the values of `self.values`.

        Raises:
            ValueError: a file that cannot be taken.
        """
        accept = self.desk.accept(request)
        if self.mask is None:
            return self.form.given(values, accept)
        return self.mask.chosen(
            values[0], self.form.given(values[1:], accept))


def lacking(task: str, checkpoint: Checkpoint) -> str:
    r"""Why the checkpoint cannot run a task; '' where it can."""
    model, types = checkpoint.model, TASKS[task].model_types
    config = WAN_CONFIGS.get(task)
    if model.model_type in types and (config is None or all(
            config[name] == getattr(model, name) for name in SHAPE)):
        return ''
    return (f'This task needs another checkpoint, of type '
            f'{" or ".join(types)}: start the page with --ckpt_dir and its '
            f'folder. You can look around here meanwhile.')
