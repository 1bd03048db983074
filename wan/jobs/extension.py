r"""Prompt extension as a step of a job: checked early, run before the models.

A task says what its language model is asked and which settings the answers
become: an `Extension`, the `before` of its row. What it looks at is
`Work.images`. The language model is gone before the video model is loaded.
"""
import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from ..distributed.groups import from_first
from ..utils.checkpoint import CheckpointError
from ..utils.flags import check_choices, choice, path, switch
from ..utils.progress import Progress
from ..utils.prompt_extend import (
    LANGUAGES,
    DashScopePromptExpander,
    PromptExpander,
    QwenPromptExpander,
)
from .settings import Idle, JobSettings, Settings, idle_notes
from .task import Job

log = logging.getLogger(__name__)

STAGE = 'extend prompt'
METHODS = ('dashscope', 'local_qwen')


@dataclass(frozen=True)
class ExtensionSettings:
    r"""Prompt extension by a language model.

    Args:
        use_prompt_extend: let a language model add detail to the prompt; a
            task that is given images shows them to it.
        prompt_extend_method: dashscope asks over the network, with
            DASH_API_KEY in the environment; local_qwen runs on this machine.
        prompt_extend_model: of dashscope, a name (default: qwen-plus); of
            local_qwen, a folder, a hub id or a short name (default:
            Qwen2.5_14B). With images qwen-vl-max and QwenVL2.5_7B.
        prompt_extend_target_lang: language of the extended prompt.
        prompt_extend_fallback: if that fails, warn and go on with the prompt
            as it was given.

    Raises:
        ValueError: a name that is not known.
    """
    use_prompt_extend: bool = switch()
    prompt_extend_method: str = choice('local_qwen', METHODS)
    prompt_extend_model: str | None = path()
    prompt_extend_target_lang: str = choice('zh', LANGUAGES)
    prompt_extend_fallback: bool = switch()

    def __post_init__(self):
        check_choices(self)

    def check(self, images: bool = False) -> None:
        r"""Check that the prompt can be extended, without loading a model.

        Args:
            images: whether the model is shown any.

        Raises:
            ValueError: the package, the key or the model is missing, or it is
                not one for images.
        """
        if not self.use_prompt_extend:
            return
        if self.prompt_extend_method == 'dashscope':
            self.expander(images, torch.device('cpu'))
        else:
            QwenPromptExpander.locate(self.prompt_extend_model, images)

    def expander(self, images: bool, device: torch.device) -> PromptExpander:
        r"""The language model, loaded.

        Args:
            images: whether it is shown any.
            device: for a model on this machine.

        Raises:
            CheckpointError: a model on this machine that cannot be loaded.
        """
        kind = DashScopePromptExpander \
            if self.prompt_extend_method == 'dashscope' \
            else QwenPromptExpander
        return kind(model_name=self.prompt_extend_model, is_vl=images,
                    device=device)


IDLE = Idle(
    ('prompt_extend_method', 'prompt_extend_model',
     'prompt_extend_target_lang', 'prompt_extend_fallback'),
    lambda extension: not extension.use_prompt_extend,
    'use_prompt_extend is off')


def prepared(
    settings: Settings, images: Sequence[object] = ()
) -> tuple[tuple[str, ...], list[str]]:
    r"""Check the extension of a job; what `Work` is to know of it.

    Args:
        images: that the job has, the `images` of its `Work`.

    Returns:
        Its stages `before`, and notes.

    Raises:
        ValueError: as `ExtensionSettings.check`.
    """
    extension = settings[ExtensionSettings]
    extension.check(bool(images))
    return ((STAGE,) if extension.use_prompt_extend else (),
            idle_notes([IDLE], extension, settings.given))


class ExtensionFailed(Exception):
    r"""The language model gave no answer, or none that can be used."""


class Ask(Protocol):
    r"""A question to the language model."""

    def __call__(
        self, text: str, rules: str | None = None,
        images: Sequence[object] = (),
    ) -> str:
        r"""The answer.

        Args:
            text: what the user says.
            rules: instructions; None are those for a longer prompt.
            images: paths or PIL images, of the job's own.

        Raises:
            ExtensionFailed: there is none.
        """


@dataclass(frozen=True)
class Extension:
    r"""What a task does with its prompts: the `before` of a row.

    Args:
        names: settings that are written anew.
        write: (job, ask) -> texts by name: all of `names`, and others that
            are only recorded. It may raise `ExtensionFailed`.
    """
    names: tuple[str, ...]
    write: Callable[[Job, Ask], Mapping[str, str]]

    def __call__(self, job: Job, progress: Progress) -> Job:
        r"""The job with its prompts extended; its record keeps both.

        Raises:
            ExtensionFailed: no answer that can be used; with
                `prompt_extend_fallback` the job goes on as it is.
            CheckpointError: a model on this machine that cannot be loaded.
        """
        texts, failure = {}, None
        with progress.stage(STAGE):
            try:
                # A language model does not say the same twice.
                texts = from_first(lambda: dict(self._written(job)))
            except (ExtensionFailed, CheckpointError) as error:
                if not job.settings[ExtensionSettings].prompt_extend_fallback:
                    raise
                failure = ' '.join(str(error).split())
            gc.collect()
            if job.runtime.torch_device.type == 'cuda':
                torch.cuda.empty_cache()
        return self._told(job, texts, failure)

    def _written(self, job: Job) -> Mapping[str, str]:
        images = job.work.images
        expander = job.settings[ExtensionSettings].expander(
            bool(images), job.runtime.torch_device)

        def ask(text, rules=None, images=()):
            output = expander(
                text, rules, image=list(images) or None,
                tar_lang=job.settings[
                    ExtensionSettings].prompt_extend_target_lang,
                seed=job.settings[JobSettings].base_seed)
            if not output.status:
                raise ExtensionFailed(
                    f'The prompt cannot be extended: '
                    f'{output.message.rstrip(".")}.')
            return output.prompt

        return self.write(job, ask)

    def _told(self, job, texts, failure) -> Job:
        work = job.work
        if failure is not None:
            note = f'{failure.rstrip(".")}. Your own prompt is used.'
            log.warning(note)
            work = replace(work, notes=(*work.notes, note))
        for name, text in texts.items():
            log.info('%s, extended: %s' if name in self.names else '%s: %s',
                     name, text)
        job.record.results |= {
            **{f'{name}_extended': texts.get(name) for name in self.names},
            **{name: text for name, text in texts.items()
               if name not in self.names},
            'prompt_extend_failure': failure}
        new = {name: text for name, text in texts.items()
               if name in self.names}
        return replace(job, work=replace(
            work, settings=work.settings.having(new), texts=texts))


def longer(job: Job, ask: Ask) -> Mapping[str, str]:
    r"""`Extension.write` of tasks with one prompt, and perhaps images."""
    return {'prompt': ask(
        job.settings.flat()['prompt'], images=job.work.images)}


extended = Extension(('prompt',), longer)
