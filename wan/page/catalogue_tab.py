r"""Many products in one prepared template, in a queue that outlives the page.
"""
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
from gradio.components import Component

from . import cards
from .desk import Desk
from .form import alert
from .pvtt_tab import PvttTab
from .shelf import Row, Shelf
from .station import State

EVERY = 2.  # seconds between two looks at the catalogue
TABLE = '.csv'


class CatalogueTab:
    r"""Template, products and their results, built where it is called.

    Args:
        desk: with the catalogues.
        edit: the tab whose form says what the template is.
    """

    def __init__(self, desk: Desk, edit: PvttTab):
        self.desk, self.edit = desk, edit
        self.seen = gr.State(())
        with gr.Row(elem_classes='desk'):
            with gr.Column(scale=5, min_width=340, elem_classes='ask'):
                self._template()
                self._products()
                self._queue()
            with gr.Column(scale=6, min_width=340, elem_classes='see'):
                self.gallery = gr.HTML(cards.NONE, elem_classes='view')
        self.timer = gr.Timer(EVERY, active=False)
        self._events()

    def _template(self) -> None:
        gr.HTML('<h2>1. The template</h2><p class="hint">It is what the tab '
                '<b>Product into video</b> says: video, words and settings. '
                'It is looked at once, for all products.</p>')
        self.prepare = gr.Button('Prepare the template')
        self.template = gr.HTML(elem_classes='template')
        self.problem = gr.HTML(visible=False, elem_classes='problem')

    def _products(self) -> None:
        gr.HTML('<h2>2. The products</h2>')
        self.files = gr.File(
            file_count='multiple', file_types=['image', TABLE],
            type='filepath', height=170,
            label='Photos, one for each product; or a table (CSV) and the '
            'photos that it names')
        self.prompt = gr.Textbox(
            label='What the videos shall show', lines=2,
            info='Of the photos that you add now; a table has its own words.')
        self.add = gr.Button('Add them', variant='primary')

    def _queue(self) -> None:
        gr.HTML('<h2>3. The queue</h2>')
        self.queue = gr.HTML(elem_classes='queue')
        self.pause = gr.Button('Pause', size='sm', visible=False)
        with gr.Accordion('Change one of them', open=False,
                          visible=False) as self.changing:
            self.name = gr.Dropdown([], label='Product')
            self.words = gr.Textbox(label='What it shall show', lines=2)
            with gr.Row():
                self.change = gr.Button('Use these words', size='sm')
                self.retry = gr.Button('Try again', size='sm')
                self.remove = gr.Button('Remove', size='sm', variant='stop')

    @property
    def outputs(self) -> list[Component]:
        return [self.seen, self.template, self.queue, self.gallery,
                self.pause, self.changing, self.name, self.timer,
                self.problem]

    def _events(self) -> None:
        own = {'api_visibility': 'private', 'concurrency_limit': None,
               'show_progress': 'hidden'}
        self.timer.tick(self.look, self.seen, self.outputs, **own)
        self.prepare.click(
            self._prepare, self.edit.values, self.outputs, **own)
        self.add.click(
            self._add, [self.files, self.prompt],
            [*self.outputs, self.files], **own)
        self.pause.click(self._pause, None, self.outputs, **own)
        self.name.change(self._words, self.name, self.words, **own)
        for button, does in (
                (self.change, lambda shelf, name, words: shelf.change(
                    name, words)),
                (self.retry, lambda shelf, name, words: shelf.retry(name)),
                (self.remove, lambda shelf, name, words: shelf.remove(name))):
            button.click(self._doing(does), [self.name, self.words],
                         self.outputs, **own)

    def _shelf(self, request: gr.Request) -> Shelf:
        return self.desk.shelves.of(self.desk.visitor(request))

    def resumed(self, request: gr.Request) -> list[object]:
        r"""What there is, for a page that is loaded again."""
        return self.look((), request)

    def look(self, seen: Sequence, request: gr.Request) -> list[object]:
        r"""Updates of `outputs`: nothing of what is shown already."""
        with self.desk.faults():
            shelf = self._shelf(request)
            template, rows, paused = shelf.template, shelf.rows(), shelf.paused
            now = (_state(template), paused, *(
                (row.name, row.prompt, row.status, row.error,
                 _state(row.state)) for row in rows))
            if now == _tuples(seen):
                return [gr.skip()] * len(self.outputs)
            names = [row.name for row in rows]
            done = [row for row in rows if row.status == 'done']
            same = {row[0] for row in _tuples(seen)[2:] if row[2] == 'done'} \
                == {row.name for row in done} and len(seen) > 0
            return [
                now, cards.template(template), cards.queue(rows, paused),
                gr.skip() if same else cards.gallery(done),
                gr.update(value='Go on' if paused else 'Pause',
                          visible=bool(rows)),
                gr.update(visible=bool(rows)), gr.update(choices=names),
                gr.update(active=_goes_on(template, rows, paused)),
                gr.skip()]

    def _prepare(self, request: gr.Request, *values) -> list[object]:
        return self._tried(request, lambda shelf: shelf.prepare(
            self.edit.given(values, request)))

    def _add(
        self, files: list[str] | None, prompt: str, request: gr.Request
    ) -> list[object]:

        def add(shelf):
            if not files:
                raise ValueError('There is nothing to add: drop photos first.')
            accept = self.desk.accept(request)
            tables = [f for f in files if Path(f).suffix.lower() == TABLE]
            photos = [accept(f, 'image') for f in files if f not in tables]
            for table in tables:
                shelf.add_table(accept(table, 'table'), photos)
            if not tables:
                shelf.add_photos(photos, prompt.strip())

        updates = self._tried(request, add)
        failed = updates[-1].get('visible')
        return [*updates, gr.skip() if failed else None]

    def _pause(self, request: gr.Request) -> list[object]:
        return self._tried(request, lambda shelf: shelf.resume()
                           if shelf.paused else shelf.pause())

    def _words(self, name: str | None, request: gr.Request) -> str:
        with self.desk.faults():
            return next((row.prompt for row in self._shelf(request).rows()
                         if row.name == name), '')

    def _doing(self, does):

        def done(name: str | None, words: str, request: gr.Request):

            def act(shelf):
                if not name:
                    raise ValueError('Choose a product first.')
                does(shelf, name, words.strip())

            return self._tried(request, act)

        return done

    def _tried(self, request: gr.Request, does) -> list[object]:
        r"""What there is after something was done, or what is wrong."""
        with self.desk.faults():
            try:
                does(self._shelf(request))
                problem = gr.update(value='', visible=False)
            except ValueError as error:
                problem = gr.update(value=alert(str(error)), visible=True)
        return [*self.look((), request)[:-1], problem]


def _goes_on(
    template: State | None, rows: Sequence[Row], paused: bool
) -> bool:
    r"""Whether anything may change by itself."""
    return template is not None and not template.ended or any(
        row.status == 'running' or row.status == 'waiting' and row.prompt
        and not paused for row in rows)


def _tuples(value):
    r"""Lists as tuples, which is how they were before a browser had them."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) \
        else value


def _state(state) -> tuple:
    r"""What tells one look at a job from another."""
    return () if state is None else (
        state.status, state.place, state.stage, state.done, state.error)
