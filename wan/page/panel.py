r"""The panel beside a form: how far its job is, and what it has made."""
from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr
from gradio.components import Component

from ..jobs.origin import read_record
from . import shown
from .desk import Desk, Run
from .pair import write_pair
from .station import State

# Where the panel is below the form, a press of a button goes there.
THERE = """() => { if (innerWidth < 900) [...document.querySelectorAll('.see')]
  .find(e => e.offsetParent)?.scrollIntoView({behavior: 'smooth'}) }"""
# As it also works where the page does not come over TLS.
COPY = """() => { [...document.querySelectorAll('.command textarea')]
  .find(e => e.offsetParent)?.select(); document.execCommand('copy') }"""
EVERY = 1.  # seconds between two looks at a job


class Panel:
    r"""What is shown of the last job of a tab.

    Args:
        desk: with the jobs.
        tab: its name.
        empty: HTML that is shown before there is any job.
    """

    def __init__(self, desk: Desk, tab: str, empty: str):
        self.desk, self.tab = desk, tab
        self.ticket = gr.State('')
        self.seen = gr.State(())
        self.said = gr.HTML(elem_classes='said')
        self.cancel = gr.Button(
            'Cancel', visible=False, size='sm', elem_classes='cancel')
        self.view = gr.HTML(empty, elem_classes='view')
        with gr.Column(visible=False, elem_classes='command') as self.same:
            self.command = gr.Textbox(
                label='The same as a command', lines=2, max_lines=6,
                interactive=True, buttons=[])
            # Gradio's own button would take the label away from the text.
            copy = gr.Button('Copy the command', size='sm')
        copy.click(None, js=COPY, api_visibility='private')
        self.timer = gr.Timer(EVERY, active=False)
        events = {'outputs': self.outputs, 'show_progress': 'hidden',
                  'queue': True, 'api_visibility': 'private',
                  'concurrency_limit': None}
        self.timer.tick(
            self.look, [self.ticket, self.seen], trigger_mode='once',
            **events)
        self.cancel.click(
            self.stop, [self.ticket, self.seen], **events)

    @property
    def outputs(self) -> list[Component]:
        return [self.ticket, self.seen, self.said, self.view, self.cancel,
                self.command, self.same, self.timer]

    def begin(self, run: Run, request: gr.Request) -> list[object]:
        r"""Submit a job; updates of `outputs`.

        Raises:
            ValueError: bad input, in one sentence.
        """
        ticket = self.desk.submit(run, request)
        return self.look(ticket, (), request)

    def resumed(self, request: gr.Request) -> list[object]:
        r"""The last job of this tab, for a page that is loaded again."""
        return self.look(self.desk.latest(self.tab, request), (), request)

    def stop(
        self, ticket: str, seen: Sequence, request: gr.Request
    ) -> list[object]:
        with self.desk.faults():
            try:
                self.desk.station.cancel(
                    ticket, self.desk.visitor(request))
            except ValueError as error:
                raise gr.Error(escape(str(error)), print_exception=False) \
                    from error
        return self.look(ticket, seen, request)

    def look(
        self, ticket: str, seen: Sequence, request: gr.Request
    ) -> list[object]:
        r"""Updates of `outputs`: nothing of what is shown already."""
        still = [gr.skip()] * len(self.outputs)
        if not ticket:
            still[-1] = gr.update(active=False)
            return still
        with self.desk.faults():
            try:
                state = self.desk.station.state(
                    ticket, self.desk.visitor(request))
            except ValueError:  # the server was started anew
                return ['', (), '', gr.skip(), gr.update(visible=False),
                        gr.skip(), gr.skip(), gr.update(active=False)]
            now = (ticket, state.status, state.place, state.stage,
                   state.done, id(state.glimpse))
            if now == tuple(seen):
                return still
            new = state.status != (seen[1] if len(seen) > 1 else None)
            run = self.desk.run(ticket, request)
            done = run is not None and state.status == 'done'
            return [
                ticket, now,
                f'<p role="status">{escape(shown.brief(state))}</p>'
                if new or state.stage != seen[3] else gr.skip(),
                self._view(state, run), gr.update(visible=not state.ended),
                self.desk.command(run, request, _seed(state))
                if done else gr.skip(),
                gr.update(visible=done) if new else gr.skip(),
                gr.update(active=not state.ended)]

    def _view(self, state: State, run: Run | None) -> str:
        if not state.ended:
            return shown.progress(state)
        if state.status == 'failed':
            return shown.failure(state.error)
        if state.status == 'cancelled':
            return '<p class="hint">Cancelled. Nothing was written.</p>'
        if run is not None and run.also == 'preview':
            return shown.previewed(state)
        return shown.edited(state, _pair(state, run))


def _seed(state: State) -> int | None:
    r"""Of what was made; None of a preview, which has no noise."""
    told = read_record(state.files['record']).get('arguments', {}) \
        if 'record' in state.files else {}
    return told.get('base_seed')


def _pair(state: State, run: Run | None) -> Path | None:
    r"""Before and after of an edit, made once; None where it cannot be."""
    before = run.settings.get('src_video') if run else None
    if not before or 'result' not in state.files:
        return None
    path = state.files['result']
    pair = path.with_name(f'{path.stem}_pair.mp4')
    try:
        return pair if pair.exists() else write_pair(before, path, pair)
    except (OSError, ValueError):
        return None

