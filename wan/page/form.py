r"""The controls of a task on a page: what is given, and what is wrong."""
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import gradio as gr
from gradio.components import Component

from ..jobs.task import Task
from .controls import Control, component, controls_of, differing, grouped, shown
from .desk import Desk

# How sentences call settings, other than by their names.
SAID = {'sample_steps': 'number of steps', 'sample_shift': 'shift'}
# What takes an upload over: (file, kind) -> where it is kept.
Accept = Callable[[str, str], Path]


class Form:
    r"""The settings of a task as components.

    `main` places a control where it is called; `advanced` all others, grouped
    by what one wants of them.

    Args:
        row: of the task.
        config: of the checkpoint that it runs on.
        local: whether visitors may name files of this machine.
        start: values that the page begins with, where it does not begin with
            the defaults.
    """

    def __init__(
        self, row: Task, config: Mapping[str, object], local: bool,
        start: Mapping[str, object] | None = None,
    ):
        self.row, self.config, self.start = row, config, start or {}
        self.controls = {c.name: c for c in controls_of(
            row, row.defaults({}, config), local)}
        self.usual = self.base(self.start) | self.start
        self.components: dict[str, Component] = {}
        self.problems: dict[str, gr.HTML] = {}
        self.folds: dict[str, gr.Accordion] = {}
        self.summary: gr.HTML | None = None

    def main(self, name: str, **own: object) -> Component:
        r"""Place a control; below it is told what is wrong with it."""
        control = self.controls[name]
        if name in self.usual:
            own = {'value': shown(control, self.usual[name]), **own}
        return self.place(name, component(control, **own))

    def place(self, name: str, placed: Component) -> Component:
        r"""Take a component as the control of a setting."""
        self.components[name] = placed
        self.tell(name)
        return placed

    def tell(self, name: str) -> None:
        r"""Place what is wrong with a setting."""
        self.problems[name] = gr.HTML(
            visible=False, elem_classes='problem')

    def advanced(self, but: Sequence[str] = ()) -> None:
        r"""Place all that has no place yet.

        Args:
            but: settings that get none.
        """
        left = [c for c in self.controls.values()
                if c.name not in self.components and c.name not in but]
        for intent, controls in grouped(left).items():
            with gr.Accordion(intent, open=False) as fold, \
                    gr.Column(elem_classes='two'):
                for control in controls:
                    with gr.Group(elem_classes='field'):
                        self.main(control.name)
            for control in controls:
                self.folds[control.name] = fold

    def conclude(self) -> None:
        r"""Place what tells of anything wrong, whatever it is about."""
        self.summary = gr.HTML(visible=False, elem_classes='problem')

    def base(self, given: Mapping[str, object]) -> Mapping[str, object]:
        r"""The defaults where some settings are given."""
        return self.row.defaults(given, self.config)

    @property
    def names(self) -> list[str]:
        return list(self.components)

    @property
    def inputs(self) -> list[Component]:
        r"""In the order of `names`."""
        return list(self.components.values())

    @property
    def told(self) -> list[Component]:
        r"""What `problem` updates."""
        return [*self.problems.values(), *self._folds(), self.summary]

    def _folds(self) -> list[gr.Accordion]:
        return list(dict.fromkeys(self.folds.values()))

    def given(
        self, values: Sequence[object], accept: Accept
    ) -> dict[str, object]:
        r"""The settings of the values of `inputs`, those that differ from
        what goes without saying.

        Raises:
            ValueError: a file that cannot be taken; the name of its setting
                stands in front.
        """
        read = dict(zip(self.names, values, strict=True))
        base = self.base(
            {k: v for k, v in read.items() if v not in (None, '')})
        controls = [self.controls[name] for name in self.names]
        given = differing(controls, values, base)
        for control in controls:
            if control.file and control.name in given:
                given[control.name] = self._accepted(
                    control, given[control.name], accept)
        return given

    def _accepted(
        self, control: Control, value: object, accept: Accept
    ) -> object:
        files = value if isinstance(value, (list, tuple)) else [value]
        try:
            kept = tuple(str(accept(_path(file), control.file))
                         for file in files)
        except ValueError as error:
            raise ValueError(f'{control.name}: {error}') from error
        return kept if control.several else kept[0]

    def problem(self, text: str = '') -> list[object]:
        r"""Updates of `told`: a sentence at its field, or none anywhere."""
        name = setting_of(text, self.problems) if text else None
        fold = self.folds.get(name)
        return [
            *(gr.update(value=alert(text), visible=True) if own == name
              else gr.update(value='', visible=False)
              for own in self.problems),
            *(gr.update(open=True) if own is fold and fold is not None
              else gr.skip() for own in self._folds()),
            gr.update(value=alert(text), visible=bool(text))]

    def tried(
        self, desk: Desk, count: int, does: Callable[[], list[object]]
    ) -> list[object]:
        r"""Updates that something gives, and of `told`; where it is refused,
        what is wrong at its field.

        Args:
            count: of the updates.
        """
        with desk.faults():
            try:
                return [*does(), *self.problem()]
            except ValueError as error:
                return [*[gr.skip()] * count, *self.problem(str(error))]

    def filled(self, settings: Mapping[str, object]) -> list[object]:
        r"""Updates of `inputs` to given settings and else the defaults."""
        base, values = self.base(settings), {}
        for name in self.names:
            control = self.controls[name]
            values[name] = shown(control, settings.get(
                name, base.get(name, control.default)))
            if control.several:
                values[name] = list(map(str, values[name] or ())) or None
                if isinstance(self.components[name], gr.Gallery):
                    values[name] = numbered(values[name] or ()) or None
            elif isinstance(self.components[name], gr.Slider):
                values[name] = float(values[name])
        return [gr.update(value=value) for value in values.values()]


def alert(text: str) -> str:
    r"""A sentence of what is wrong, for eyes and screen readers."""
    return f'<p role="alert">{escape(text)}</p>' if text else ''


def numbered(files: Iterable[str]) -> list[tuple[str, str]]:
    r"""Files with their places as captions."""
    return [(file, f'{i}. {Path(file).name}')
            for i, file in enumerate(files, 1)]


def setting_of(text: str, names: Sequence[str]) -> str | None:
    r"""The setting that a sentence is about: the first that it names."""
    found = [(match.start(), name) for name in names
             for said in (name, SAID.get(name, name))
             if (match := re.search(rf'\b{re.escape(said)}\b', text))]
    return min(found)[1] if found else None


def _path(value: object) -> str:
    r"""A file as a component gives it: its path, or that and a caption."""
    return str(value[0] if isinstance(value, (list, tuple)) else value)
