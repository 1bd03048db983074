r"""Photos in the order in which they count, and the side that each shows."""
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import gradio as gr
from gradio.components import Component

from .form import Form, numbered

# Of so many photos the side can be told.
MOST = 8
HEAD = 2**20  # bytes by which a photo is known, with their number
UNTOLD = 'not told'
# How far the camera has gone to the right around the product, degrees.
SIDES = [(UNTOLD, ''), ('its front', '0'), ('its right side', '90'),
         ('its back', '180'), ('its left side', '270')]
QUIET = {'show_progress': 'hidden', 'api_visibility': 'private',
         'concurrency_limit': None}


def gallery(label: str) -> gr.Gallery:
    r"""Where photos are dropped."""
    return gr.Gallery(
        type='filepath', interactive=True, columns=2, height=230, label=label,
        object_fit='contain', file_types=['image'], buttons=[],
        elem_classes='photos')


class Photos:
    r"""A product's photos, built where it is called.

    Args:
        form: in which `target_image` gets its place, and with `turned`
            `view_angles`.
    """

    def __init__(self, form: Form):
        self.form = form
        self.gallery = form.place(
            'target_image', gallery('Photos of your product'))
        chosen = gr.State(None)
        first = gr.Button(
            'Put the chosen photo first', size='sm', visible=False)
        gr.HTML('<p class="hint">The first one is pasted into the video, all '
                'are looked at; click on another to put it first. A plain or '
                'transparent ground is best.</p>')
        gr.on([self.gallery.upload, self.gallery.delete],
              lambda photos: numbered(file for file, _ in photos or ()),
              self.gallery, self.gallery, **QUIET)
        self.gallery.select(_selected, None, [chosen, first], **QUIET)
        self.gallery.preview_close(
            lambda: [None, gr.update(visible=False)], None, [chosen, first],
            **QUIET)
        first.click(_put_first, [self.gallery, chosen],
                    [self.gallery, chosen, first], **QUIET)

    def turned(self) -> None:
        r"""Place which side each photo shows."""
        with gr.Accordion('Which side each photo shows', open=False):
            gr.HTML('<p class="hint">If the old product turns in the video: '
                    'then the new one turns as well, and each of its sides '
                    'is taken from its photo. Other angles can be typed, in '
                    'degrees to the right.</p>')
            with gr.Column(elem_classes='sides'):
                self.sides = [gr.Dropdown(
                    SIDES, value='', allow_custom_value=True, visible=False,
                    label=f'Photo {i + 1}') for i in range(MOST)]
        self.form.tell('view_angles')
        # By photo: what changes their order may come before what it did to
        # the controls.
        self.known = gr.State({})
        self.gallery.change(
            _beside, [self.gallery, self.known], self.sides, **QUIET)
        gr.on([side.input for side in self.sides], _noted,
              [self.gallery, self.known, *self.sides], self.known, **QUIET)

    def turns(self, collage: Component) -> None:
        r"""Have the collage turn once a side is told."""
        gr.on([side.input for side in self.sides], _turning,
              [collage, *self.sides], collage, **QUIET)

    @property
    def values(self) -> list[Component]:
        r"""What `told` reads, and `filled` updates."""
        return [self.known, *self.sides]

    def filled(self, settings: Mapping[str, object]) -> list[object]:
        r"""Updates of `values` to given settings."""
        angles = settings.get('view_angles') or ()
        if isinstance(angles, str):
            angles = map(float, angles.split(','))
        photos = numbered(map(str, settings.get('target_image') or ()))
        known = _noted(photos, {}, *(f'{angle:g}' for angle in angles))
        return [known, *_beside(photos, known)]


def told(photos: int, sides: Sequence[str | None]) -> dict[str, object]:
    r"""The setting of what is told of so many photos' sides.

    Raises:
        ValueError: it is told of some of them only.
    """
    angles = [str(side or '').strip() for side in sides[:photos]]
    if not any(angles):
        return {}
    if not all(angles) or len(angles) < photos:
        raise ValueError(
            f'view_angles: {sum(map(bool, angles))} of {photos} photos have a '
            f'side; tell it of all, or of none.')
    return {'view_angles': ','.join(angles)}


def mark(file: str | Path) -> str:
    r"""What a photo is known by, wherever it is kept."""
    with open(file, 'rb') as opened:
        size = os.fstat(opened.fileno()).st_size
        return hashlib.sha256(
            b'%d ' % size + opened.read(HEAD)).hexdigest()


def _noted(
    photos: list | None, known: Mapping[str, str], *sides: str
) -> dict[str, str]:
    r"""The sides by photo."""
    return {**known, **{
        mark(file): side for (file, _), side in zip(
            photos or (), sides, strict=False)}}


def _beside(
    photos: list | None, known: Mapping[str, str]
) -> list[object]:
    r"""Updates of the controls for sides; those without a photo are hidden.
    """
    shown = numbered(file for file, _ in photos or ())[:MOST]
    return [*(gr.update(value=known.get(mark(file), ''), label=name,
                        visible=True) for file, name in shown),
            *[gr.update(value='', visible=False)] * (MOST - len(shown))]


def _turning(collage: str, *sides: str) -> object:
    return 'auto' if collage == 'flat' and any(sides) else gr.skip()


def _selected(event: gr.SelectData) -> list:
    return [int(event.index), gr.update(visible=event.index > 0)]


def _put_first(photos: list | None, chosen: int | None) -> list:
    files = [file for file, _ in photos or ()]
    if chosen is not None and 0 < chosen < len(files):
        files.insert(0, files.pop(chosen))
    return [gr.update(value=numbered(files), selected_index=0), 0,
            gr.update(visible=False)]
