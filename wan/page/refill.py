r"""A form filled with the settings of a record or of a result."""
from collections.abc import Callable, Mapping, Sequence
from html import escape

import gradio as gr
from gradio.components import Component

from . import again
from .desk import Desk
from .form import Form, alert


class Refill:
    r"""A button that takes a file, built where it is called.

    Args:
        desk: whose files they are.
        task: whose settings are taken.
    """

    def __init__(self, desk: Desk, task: str):
        self.desk, self.task = desk, task
        self.button = gr.UploadButton(
            'Use settings again', size='sm', type='filepath',
            file_types=['.json', '.mp4', '.mov', '.png'])
        self.said = gr.HTML(visible=False, elem_classes='hint')

    def fills(
        self, form: Form, values: Sequence[Component],
        filled: Callable[[Mapping[str, object]], list[object]],
    ) -> None:
        r"""Say what is filled.

        Args:
            form: whose labels are told for files to be given again.
            values: what is filled.
            filled: settings -> updates of `values`.
        """

        def fill(file: str, request: gr.Request) -> list[object]:
            with self.desk.faults():
                try:
                    settings, missing = self._settings(file, request)
                except ValueError as error:
                    return [*[gr.skip()] * len(values), gr.update(
                        value=alert(str(error)), visible=True)]
                labels = [form.components[name].label for name in missing
                          if name in form.components]
                told = escape(f'Filled in; give again: {", ".join(labels)}.'
                              if labels else 'Filled in.')
                return [*filled(settings), gr.update(
                    value=f'<p role="status">{told}</p>', visible=True)]

        self.button.upload(
            fill, self.button, [*values, self.said], show_progress='hidden',
            api_visibility='private', concurrency_limit=None)

    def _settings(
        self, file: str, request: gr.Request
    ) -> tuple[Mapping[str, object], Sequence[str]]:
        kept = self.desk.accept(request)(file, 'record')
        task, settings, missing = again.settings_of(
            kept, self.desk.station.readable(self.desk.visitor(request)))
        if task != self.task:
            raise ValueError(
                f'These are settings of task {task}, which has a tab of its '
                f'own.')
        return settings, missing
