r"""Photos in the order in which they count."""
from pathlib import Path

import gradio as gr


def gallery(label: str) -> gr.Gallery:
    r"""Where photos are dropped."""
    return gr.Gallery(
        type='filepath', interactive=True, columns=3, height=230, label=label,
        object_fit='contain', file_types=['image'], buttons=[])


def order(photos: gr.Gallery) -> None:
    r"""Show the photos' places, and have one put first."""
    chosen = gr.State(None)
    first = gr.Button('Put the chosen photo first', size='sm', visible=False)
    quiet = {'show_progress': 'hidden', 'api_visibility': 'private',
             'concurrency_limit': None}
    photos.change(
        lambda shown: [gr.update(visible=len(shown or ()) > 1), None],
        photos, [first, chosen], **quiet)
    photos.upload(_numbered, photos, photos, **quiet)
    photos.select(_selected, None, chosen, **quiet)
    first.click(_put_first, [photos, chosen], photos, **quiet)


def _numbered(photos: list | None) -> list:
    r"""Photos with their places as captions."""
    return [(file, f'{i + 1}. {Path(file).name}' if i else
             f'1. {Path(file).name} (pasted in)')
            for i, (file, _) in enumerate(photos or ())]


def _selected(event: gr.SelectData) -> int:
    return int(event.index)


def _put_first(photos: list | None, chosen: int | None) -> list:
    photos = list(photos or ())
    if chosen is not None and 0 < chosen < len(photos):
        photos.insert(0, photos.pop(chosen))
    return _numbered(photos)
