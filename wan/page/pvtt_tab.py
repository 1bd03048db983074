r"""The page's first tab: a product of photos into a template video."""
from collections.abc import Mapping
from pathlib import Path

import gradio as gr
from gradio.components import Component

from ..edit_config import PRESETS
from ..jobs.settings_file import read_experiment
from ..tasks import EDIT_TASK as TASK
from ..tasks import TASKS
from .clip import clip
from .controls import shown
from .describing import describes, unable
from .desk import Desk, Run
from .form import Form, alert
from .mask_editor import MaskEditor, way_of
from .panel import THERE, Panel
from .photos import MOST, Photos, told
from .refill import Refill

TAB = TASK
# In a seller's words, the first of which the page begins with: what
# docs/quality found best.
WAYS = {
    'relight': 'The photo itself, in the light of the scene',
    'solid': 'The same, of a product that turns',
    'best': 'Drawn by the model, close to the photo',
    'gentle': 'Drawn by the model, the photo as a hint',
    'strong': 'Drawn by the model, much of the photo',
    'phantom': "Drawn by Phantom's weights",
    '': 'As it is set below'}
PRESET = next(iter(WAYS))
USUAL, DRAFT = 'usual', 'draft'
# Half of the steps, of which those that change little are not computed.
DRAFT_CACHE, STEPS = 0.1, 50
MOVED = tuple(dict.fromkeys(
    name for preset in PRESETS.values() for name in preset))
EMPTY = """<div class="empty"><h2>What you will see here</h2>
<p>First a picture of what will be replaced, before you wait for anything.
Then the video while it is made, and at last before and after in one slider.
</p><p>Nothing at hand? <b>Try the example</b> fills everything in.</p></div>
"""


class PvttTab:
    r"""Form, mask and panel of an edit, built where it is called.

    Args:
        desk: with the jobs.
        config: of the checkpoint that they run on.
        example: an experiment file that fills the form; None without.
    """

    def __init__(
        self, desk: Desk, config: Mapping[str, object], example: Path | None
    ):
        self.desk, self.example = desk, example
        self.steps = config.get('defaults', {}).get('sample_steps', STEPS)
        self.form = Form(
            TASKS[TASK], config, desk.local, {'ref_preset': PRESET})
        with gr.Row(elem_classes='desk'):
            with gr.Column(scale=5, min_width=340, elem_classes='ask'):
                self._beginning()
                self._files()
                self._words()
                self._choices()
                with gr.Accordion('Advanced', open=False,
                                  elem_classes='advanced'):
                    self.form.advanced(but=(
                        'ref_c', 'view_angles', *unable(images=True)))
                with gr.Column(elem_classes='go'):
                    self.form.conclude()
                    with gr.Row():
                        self.look = gr.Button('See before you wait')
                        self.make = gr.Button(
                            'Make the video', variant='primary')
            with gr.Column(scale=6, min_width=340, elem_classes='see'):
                self.panel = Panel(desk, TAB, EMPTY)
        self._events()

    def _beginning(self) -> None:
        with gr.Row(elem_classes='begin'):
            self.try_it = gr.Button(
                'Try the example', size='sm', visible=bool(self.example))
            self.again = Refill(self.desk, TASK)

    def _files(self) -> None:
        gr.HTML('<h2>1. What you have</h2>')
        with gr.Row(elem_classes='files'):
            with gr.Column(min_width=200):
                self.video = self.form.place('src_video', clip('Your video'))
                gr.HTML('<p class="hint">The video that stays as it is, but '
                        'for the product.</p>')
            with gr.Column(min_width=200):
                self.photos = Photos(self.form)
        self.photos.turned()

    def _words(self) -> None:
        gr.HTML('<h2>2. Say it in words</h2>')
        self.form.main(
            'source_prompt', label='What the video shows', lines=2,
            placeholder='a silver watch on a marble table',
            info='Describe the scene with the old product.')
        self.form.main(
            'target_prompt', label='What it shall show', lines=2,
            placeholder='a gold bracelet on a marble table',
            info='The same words, with the new product as the photo has it.')
        if describes(images=True):
            self.form.main(
                'use_prompt_extend', label='Describe the photo for me',
                info='A language model looks at the photo and writes both '
                'anew.')

    def _choices(self) -> None:
        gr.HTML('<h2>3. Choose how</h2>')
        self.weights = gr.State(())
        usual = self.form.usual
        with gr.Group():
            self.form.place('ref_preset', gr.Dropdown(
                [(words, name) for name, words in WAYS.items()],
                value=PRESET, label='How the product comes in',
                info='It sets the controls below, and some under Advanced.'))
            self.follow = gr.Slider(
                0, 1, sum(usual['ref_c']), step=0.01,
                label='How closely the photo is read',
                info='Where the model draws: more is nearer to the photo; '
                'too much costs the background.')
            self.form.main(
                'collage_zeta_scale', label='How firmly its look is held',
                info='Where the model draws: more is nearer to the photo as '
                'it is pasted in; 0 leaves it free.')
            self.form.place('strength', gr.Slider(
                0.05, 1, usual['strength'], step=0.05,
                label='How much may change',
                info='More lets the product take another shape, and takes '
                'longer.'))
        self.mask = MaskEditor(self.desk, self.form, self.video)
        self.quality = gr.Radio(
            [('Usual', USUAL), ('Draft', DRAFT)], value=USUAL,
            label='Quality', info='A draft takes half of the steps: good to '
            'see whether it goes the right way.')

    @property
    def values(self) -> list[Component]:
        r"""All that a job is made of."""
        return [self.follow, self.weights, self.mask.way, self.quality,
                *self.photos.values, *self.form.inputs]

    def _events(self) -> None:
        own = {'api_visibility': 'private', 'concurrency_limit': None}
        outputs = [*self.panel.outputs, *self.form.told]
        for button, also in ((self.look, 'preview'), (self.make, None)):
            button.click(
                self._asking(also), self.values, outputs,
                show_progress='hidden', **own)
            button.click(None, js=THERE, **own)
        if self.example:
            self.try_it.click(
                self._fill_example, None, self.values,
                show_progress='hidden', **own)
        self.again.fills(self.form, self.values, self.filled)
        quiet = {'show_progress': 'hidden', **own}
        self.photos.turns(self.form.components['collage'])
        preset = self.form.components['ref_preset']
        preset.input(
            self._preset, preset,
            [self.follow, *(self.form.components[name] for name in MOVED
                            if name in self.form.components)], **quiet)
        self.mask.take.click(
            self._take_mask, self.panel.ticket,
            [self.mask.mask, self.mask.said], **quiet)

    def _asking(self, also: str | None):
        r"""What a button does: a job of what is given."""

        def ask(request: gr.Request, *values) -> list:
            return self.form.tried(
                self.desk, len(self.panel.outputs), lambda: self.panel.begin(
                    Run(TAB, TASK, self.given(values, request), also),
                    request))

        return ask

    def given(self, values, request: gr.Request) -> dict[str, object]:
        r"""The settings of the values of `self.values`.

        Raises:
            ValueError: a file that cannot be taken.
        """
        follow, weights, way, quality, _, *rest = values
        sides, rest = rest[:MOST], rest[MOST:]
        given = self.mask.chosen(way, self.form.given(
            rest, self.desk.accept(request)))
        photos = len(given.get('target_image', ()))
        given |= told(photos, sides)
        if given.get('use_reference', True) and photos:
            own = weights and len(weights) == photos and \
                abs(sum(weights) - follow) < 1e-6
            given['ref_c'] = tuple(weights) if own else \
                (round(follow / photos, 4),) * photos
        if quality == DRAFT:
            given.setdefault('sample_steps', max(1, self.steps // 2))
            given.setdefault('step_cache', DRAFT_CACHE)
        return given

    def filled(self, settings: Mapping[str, object]) -> list:
        r"""Updates of the form to given settings."""
        base = self.form.base(settings)
        weights = settings.get('ref_c', base.get('ref_c', (0.3,)))
        weights = tuple(weights) if isinstance(weights, (list, tuple)) \
            else tuple(float(part) for part in str(weights).split(','))
        return [
            round(max(0., min(1., sum(weights))), 4), weights,
            way_of(settings), USUAL, *self.photos.filled(settings),
            *self.form.filled(settings)]

    @property
    def outputs(self) -> list[Component]:
        r"""What `resumed` updates."""
        return [*self.panel.outputs, *self.values]

    def resumed(self, request: gr.Request) -> list:
        r"""The last job and its settings, for a page that is loaded again."""
        run = self.desk.run(self.desk.latest(TAB, request), request)
        form = self.filled(run.settings) if run else \
            [gr.skip()] * len(self.values)
        return [*self.panel.resumed(request), *form]

    def _fill_example(self) -> list:
        with self.desk.faults():
            return self.filled(read_experiment(self.example, TASKS[TASK]))

    def _preset(self, preset: str) -> list:
        r"""What a preset says, in the controls of its settings."""
        base = self.form.base({'ref_preset': preset})
        controls = self.form.controls
        follow = sum(base.get('ref_c', controls['ref_c'].default))
        return [follow, *(
            shown(controls[name], base.get(name, controls[name].default))
            for name in MOVED if name in self.form.components)]

    def _take_mask(self, ticket: str, request: gr.Request) -> list:
        r"""The mask that a preview or an edit has found."""
        with self.desk.faults():
            try:
                if not ticket:
                    raise ValueError(
                        'src_mask: press “See before you wait” first.')
                state = self.desk.station.state(
                    ticket, self.desk.visitor(request))
                if 'mask' not in state.files:
                    raise ValueError('src_mask: no product was found yet.')
                return [str(state.files['mask']),
                        gr.update(visible=False)]
            except ValueError as error:
                return [gr.skip(), gr.update(
                    value=alert(str(error)), visible=True)]
