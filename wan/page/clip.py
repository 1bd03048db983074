r"""Where a video is dropped."""
from pathlib import Path

import gradio as gr
from gradio.data_classes import FileData


def clip(label: str) -> gr.Video:
    r"""A video, which stays the file that it is.

    Where a browser does not play it, gradio would show, and give back, a
    copy that is encoded anew: a template is to keep every pixel.
    """
    made = gr.Video(sources=['upload'], label=label, height=230, buttons=[])
    made.postprocess = stored
    return made


def stored(file: str | Path | None) -> FileData | None:
    r"""A file as a component has it."""
    return None if file is None else FileData(
        path=str(file), orig_name=Path(file).name)
