r"""Where the old product is: found, pointed at, painted, or from a file."""
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
from gradio.components import Component

from . import masks
from .desk import Desk
from .form import Form, alert

FOUND, POINTED, PAINTED = 'found', 'pointed', 'painted'
WAYS = [('Find it for me', FOUND), ('I point at it', POINTED),
        ('I paint it', PAINTED)]
# Settings that each way of telling uses.
USES = {FOUND: (), POINTED: ('src_box', 'src_point'), PAINTED: ('src_mask',)}
GROW = 4  # pixels of the mask at a press


class MaskEditor:
    r"""Controls that decide the mask of a template.

    Args:
        desk: whose files they are.
        form: the settings; `src_mask` and, if the task has them, `src_box`
            and `src_point` get their places here.
        video: the component of the template.
    """

    def __init__(self, desk: Desk, form: Form, video: Component):
        self.desk, self.form, self.video = desk, form, video
        self.hints = 'src_box' in form.controls
        ways = [way for way in WAYS if self.hints or way[1] != POINTED]
        words = ways if self.hints else [
            ('All of it is made anew', FOUND), ways[-1]]
        self.way = gr.Radio(
            words, value=FOUND, label='The old product' if self.hints
            else 'What is made anew', info='It is found by your two '
            'descriptions; look at the preview, and help where it is wrong.'
            if self.hints else 'White in a mask is made anew, black is kept.')
        with gr.Column(visible=False, elem_classes='editor') as self.box:
            self.number = gr.Slider(
                0, 1, 0, step=1, label='Frame', info='The frame of the video '
                'that you see below.', visible=True)
            with gr.Column(visible=False) as self.pointing:
                self._pointing() if self.hints else None
            with gr.Column(visible=False) as self.painting:
                self._painting()
        self.said = gr.HTML(visible=False, elem_classes='problem')
        self._events()

    def _pointing(self) -> None:
        self.corner = gr.State(None)
        self.frame = gr.Image(
            type='pil', interactive=False, label='Click on the product, or '
            'on two opposite corners of a box around it', buttons=[],
            elem_classes='frame')
        self.kind = gr.Radio(
            [('A box, two clicks', 'src_box'), ('A point, one click',
              'src_point')], value='src_box', label='What a click means')
        with gr.Row():
            self.form.main(
                'src_box', label='Box', placeholder='x,y,width,height',
                info='In pixels of the video; @48 behind it is frame 48.')
            self.form.main(
                'src_point', label='Point', placeholder='x,y',
                info='The same, for a point on the product.')

    def _painting(self) -> None:
        self.paint = gr.ImageEditor(
            type='pil', sources=(), transforms=(), layers=False,
            label='Paint over it',
            brush=gr.Brush(colors=[masks.PAINT], default_color=masks.PAINT,
                           default_size=28),
            eraser=gr.Eraser(default_size=28), buttons=[],
            elem_classes='paint')
        with gr.Row(elem_classes='tools'):
            self.use = gr.Button('Use what I painted', size='sm')
            self.erase = gr.Button('Erase what I painted', size='sm')
            self.follow = gr.Button('It moves: follow it from here',
                                    size='sm', visible=self.hints)
            self.take = gr.Button('Take the mask that was found', size='sm',
                                  visible=self.hints)
            self.grow = gr.Button('Grow', size='sm')
            self.shrink = gr.Button('Shrink', size='sm')
        self.mask = self.form.main(
            'src_mask', label='The mask: painted here, or a video or picture '
            'of your own; white is product')

    def _events(self) -> None:
        quiet = {'show_progress': 'hidden', 'api_visibility': 'private'}
        self.way.change(
            lambda way: [gr.update(visible=way != FOUND),
                         gr.update(visible=way == POINTED),
                         gr.update(visible=way == PAINTED)],
            self.way, [self.box, self.pointing, self.painting], **quiet)
        shows = [self.paint, self.said, *([self.frame] if self.hints else [])]
        given = [self.way, self.video, self.number, self.mask, *(
            [self.form.components[name] for name in USES[POINTED]]
            if self.hints else [])]
        self.video.change(self.counted, self.video, self.number, **quiet)
        gr.on([self.way.change, self.number.release, self.video.change,
               self.mask.change], self.drawn, given, shows, **quiet)
        for button, erase in ((self.use, False), (self.erase, True)):
            button.click(
                self._using(erase),
                [self.paint, self.video, self.number, self.mask],
                [self.mask, self.said], **quiet)
        for button, pixels in ((self.grow, GROW), (self.shrink, -GROW)):
            button.click(
                self._moving(pixels), [self.mask], [self.mask, self.said],
                **quiet)
        if self.hints:
            self.follow.click(
                self.followed, [self.paint, self.video, self.number],
                [self.way, self.said, *(
                    self.form.components[name] for name in USES[POINTED])],
                **quiet)
            self.frame.select(
                self.clicked, [self.kind, self.corner, self.video,
                               self.number],
                [self.corner, self.said,
                 *(self.form.components[name] for name in USES[POINTED])],
                **quiet)
            gr.on([self.form.components[name].change
                   for name in USES[POINTED]], self.drawn, given, shows,
                  **quiet)

    def counted(self, video: str | None) -> object:
        r"""The frames to choose from."""
        try:
            last = len(masks.footage(video).times) - 1 if video else 0
        except (OSError, ValueError):
            last = 0
        return gr.update(maximum=max(1, last), value=0)

    def drawn(
        self, way: str, video: str | None, number: int, mask: str | None,
        *hints: str,
    ) -> list[object]:
        r"""The frame with what is marked on it."""
        if way == FOUND or not video:
            return [gr.skip()] * (2 + self.hints)
        with self.desk.faults():
            try:
                whole, off = masks.frame(video, number), gr.update(
                    visible=False)
                if way == POINTED:
                    return [gr.skip(), off, masks.hinted(
                        whole, dict(zip(USES[POINTED], hints, strict=True)),
                        number)]
                picture = masks.sized(whole)
                return [masks.to_paint(picture, mask, number), off,
                        *([gr.skip()] * self.hints)]
            except (OSError, ValueError) as error:
                return [gr.skip(), _wrong(error), *([gr.skip()] * self.hints)]

    def clicked(
        self, kind: str, corner: Sequence[int] | None, video: str | None,
        number: int, event: gr.SelectData,
    ) -> list[object]:
        r"""A click on the frame: a point, or one of two corners."""
        at = [int(value) for value in event.index]
        where = f'@{int(number)}' if number else ''
        off = gr.update(visible=False)
        if kind == 'src_point':
            return [None, off, '', f'{at[0]},{at[1]}{where}']
        if corner is None:
            return [at, gr.update(
                value='<p class="hint">Now the opposite corner.</p>',
                visible=True), gr.skip(), gr.skip()]
        left, top = (min(a, b) for a, b in zip(corner, at, strict=True))
        width, height = (max(1, abs(a - b))
                         for a, b in zip(corner, at, strict=True))
        return [None, off, f'{left},{top},{width},{height}{where}', '']

    def _using(self, erase: bool):
        r"""What was painted goes to the mask, or away from it."""

        def used(
            editor: dict | None, video: str | None, number: int,
            mask: str | None, request: gr.Request,
        ) -> list[object]:
            with self.desk.faults():
                try:
                    picture = masks.painted(
                        (editor or {}).get('layers') or [])
                    return [str(masks.write_painted(
                        picture, mask, int(number), video,
                        self._folder(request), erase)),
                        gr.update(visible=False)]
                except ValueError as error:
                    return [gr.skip(), _wrong(error)]

        return used

    def followed(
        self, editor: dict | None, video: str | None, number: int
    ) -> list[object]:
        r"""The box around what was painted, which is followed from there."""
        with self.desk.faults():
            try:
                picture = masks.painted((editor or {}).get('layers') or [])
                box = masks.box_around(picture, masks.footage(video).size)
            except ValueError as error:
                return [gr.skip(), _wrong(error), gr.skip(), gr.skip()]
            where = f'@{int(number)}' if number else ''
            return [POINTED, gr.update(visible=False),
                    ','.join(map(str, box)) + where, '']

    def _moving(self, pixels: int):

        def moved(mask: str | None, request: gr.Request) -> list[object]:
            with self.desk.faults():
                try:
                    if not mask:
                        raise ValueError(
                            'src_mask: there is no mask yet; paint one first.')
                    return [str(masks.write_grown(
                        mask, pixels, self._folder(request))),
                        gr.update(visible=False)]
                except ValueError as error:
                    return [gr.skip(), _wrong(error)]

        return moved

    def _folder(self, request: gr.Request) -> Path:
        return self.desk.folder(request) / 'masks'

    def chosen(self, way: str, given: dict[str, object]) -> dict[str, object]:
        r"""Settings without those of the other ways."""
        unused = {name for names in USES.values() for name in names} - set(
            USES[way])
        return {k: v for k, v in given.items() if k not in unused}


def way_of(settings) -> str:
    r"""In which way settings tell where the product is."""
    return next((way for way, names in USES.items()
                 if any(settings.get(name) for name in names)), FOUND)


def _wrong(error: Exception) -> object:
    return gr.update(value=alert(str(error)), visible=True)
