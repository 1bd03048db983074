r"""What is shown of a job: how far it is, and what it has made."""
import base64
import io
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from PIL import Image

from ..experiments.page import REPORT
from ..utils.image import IMAGE_SUFFIXES
from .desk import url
from .station import State

# Stages as one says them; others are shown as they are called.
STAGES = {
    'check': 'Checking', 'load': 'Loading the model',
    'read the template': 'Reading the video',
    'encode text': 'Reading the prompts', 'encode': 'Encoding the video',
    'encode image': 'Encoding the pictures',
    'find the product': 'Finding the product',
    'capture the reference': 'Looking at the photo',
    'edit': 'Editing', 'denoise': 'Making the video',
    'decode': 'Decoding the pictures', 'write': 'Writing the video',
    'measure': 'Measuring what changed', 'save': 'Saving',
    'extend prompt': 'Extending the prompt'}
# What can be downloaded, in this order.
FILES = {
    'result': 'Video', 'mask': 'Mask', 'comparison': 'Side by side',
    'sheet': 'Contact sheet', 'record': 'Record'}
KNOWN = 'ckpt_dir is not given'
GLIMPSE = 480  # pixels wide at most


def words_of(stage: str) -> str:
    return STAGES.get(stage, stage[:1].upper() + stage[1:])


def span(seconds: float) -> str:
    r"""Seconds as one says them."""
    seconds = round(seconds)
    if seconds < 90:
        return f'{max(1, seconds)} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 90 else \
        f'{minutes // 60} h {minutes % 60} min'


def brief(state: State) -> str:
    r"""Where a job is, in one line that a screen reader may say."""
    if state.status == 'waiting':
        return 'Waiting; next in line.' if state.place <= 1 else \
            f'Waiting; {state.place - 1} before you.'
    if state.status == 'running':
        return f'{words_of(state.stage)}.' if state.stage else 'Starting.'
    return {'done': 'Done.', 'cancelled': 'Cancelled; nothing was written.',
            'failed': 'It failed.'}[state.status]


def progress(state: State) -> str:
    r"""The panel of a job that waits or runs."""
    text = brief(state).rstrip('.')
    more, share = '', 0.
    if state.status == 'running' and state.total > 1:
        share = state.done / state.total
        more = f'step {state.done} of {state.total}'
        if state.eta is not None:
            more += f', about {span(state.eta)} left in this stage'
    glimpse = '' if state.glimpse is None else (
        f'<figure><img class="glimpse" alt="What the video is like by now" '
        f'src="{data(state.glimpse)}"><figcaption>A rough look at the video '
        f'by now</figcaption></figure>')
    busy = '' if more else ' busy'
    return (
        f'<div class="run"><p class="stage"><b>{escape(text)}</b> '
        f'<span>{more}</span></p><div class="bar{busy}" role="progressbar" '
        f'aria-label="{escape(text)}" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{share * 100:.0f}"><i style="width:{share:.1%}"></i>'
        f'</div>{glimpse}</div>')


def data(picture: Image.Image) -> str:
    r"""A picture within the page itself."""
    picture = picture.convert('RGB')
    if picture.width < GLIMPSE:
        picture = picture.resize((
            GLIMPSE, round(picture.height * GLIMPSE / picture.width)),
            Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, 'WEBP', quality=80)
    return 'data:image/webp;base64,' + base64.b64encode(
        file.getvalue()).decode()


def failure(text: str) -> str:
    return (f'<div class="run failed" role="alert"><p><b>It failed.</b></p>'
            f'<p>{escape(text)}</p></div>')


def picture(path: Path, alt: str) -> str:
    return (f'<a href="{url(path)}" target="_blank"><img alt="{escape(alt)}" '
            f'src="{url(path)}"></a>')


def video(path: Path, label: str) -> str:
    if path.suffix != '.mp4':
        return (f'<p class="hint">Browsers do not play {escape(path.suffix)} '
                'files; download it below.</p>')
    return (f'<video src="{url(path)}" aria-label="{escape(label)}" controls '
            f'loop muted playsinline></video>')


def previewed(state: State) -> str:
    r"""What an edit would see."""
    parts = ['<div class="result">', picture(
        state.files['result'], 'The template with the product that was found '
        'in green and the window that the model sees in yellow; what the '
        'model sees; the photos, cut out')]
    parts.append(
        '<p class="hint">Green is what will be replaced, yellow the part '
        'that the model sees. If the green misses the product, choose '
        '<b>I point at it</b> or <b>I paint it</b> under “The old product”.'
        '</p>')
    parts += [notes(state.notes), downloads(state.files, {
        'result': 'Picture', 'mask': 'Mask'}), '</div>']
    return ''.join(parts)


def edited(state: State, pair: Path | None) -> str:
    r"""A result, before and after it in one picture.

    Args:
        pair: of `write_pair`; None where there is no before.
    """
    path = state.files['result']
    if pair is not None:
        shown = f'<before-after src="{url(pair)}"></before-after>'
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        shown = picture(path, 'The result')
    else:
        shown = video(path, 'The result')
    parts = ['<div class="result">', shown, numbers(state.numbers),
             notes(state.notes), downloads(state.files, FILES)]
    if 'comparison' in state.files:
        parts.append(_fold('Template, photo and result side by side', video(
            state.files['comparison'], 'Template, photo and result')))
    if 'sheet' in state.files:
        parts.append(_fold('Contact sheet', picture(
            state.files['sheet'], 'Frames of template, window, photo and '
            'result, one row each')))
    return ''.join((*parts, '</div>'))


def numbers(measured: Mapping[str, float]) -> str:
    r"""What was changed, in words."""
    told = [text.format(measured[name]) for name, text in REPORT
            if isinstance(measured.get(name), (int, float))]
    text = escape('; '.join(told))
    return f'<p class="told"><b>What was changed.</b> {text}.</p>' \
        if told else ''


def notes(sentences: Iterable[str]) -> str:
    r"""Warnings in words; which model runs is told by the page's head."""
    rows = ''.join(f'<li>{escape(text)}</li>' for text in sentences
                   if not text.startswith(KNOWN))
    return f'<div class="notes"><b>Good to know</b><ul>{rows}</ul></div>' \
        if rows else ''


def downloads(files: Mapping[str, Path], names: Mapping[str, str]) -> str:
    r"""Links that save what was made."""
    links = ''.join(
        f'<a href="{url(files[name])}" download="{escape(files[name].name)}">'
        f'{text}</a>' for name, text in names.items() if name in files)
    return f'<nav class="downloads" aria-label="Downloads">{links}</nav>' \
        if links else ''


def _fold(title: str, content: str) -> str:
    return f'<details><summary>{title}</summary>{content}</details>'
