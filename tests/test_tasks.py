r"""The table of tasks: named once, and a row is enough for a new one."""
import ast
import inspect
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

import generate
from tests.cli import failure, nothing_changes, result
from wan import jobs, tasks
from wan.configs import WAN_CONFIGS
from wan.jobs import edit_settings, extension, text
from wan.jobs.task import Task, Work
from wan.tasks import TASKS
from wan.utils.flags import argument_help, kinds

ROOT = Path(generate.__file__).parent
KINDS = list(dict.fromkeys(k for row in TASKS.values() for k in row.kinds))


def strings(file):
    r"""The string constants of a module that are not docstrings."""
    tree = ast.parse(file.read_text('utf-8'))
    docs = {id(node.value) for node in ast.walk(tree)
            if isinstance(node, ast.Expr)}
    return {node.value for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and id(node) not in docs}


def test_a_tasks_name_stands_in_the_table_alone():
    own = set(TASKS) - set(WAN_CONFIGS)
    assert own == {'pvtt'}
    files = [*(ROOT / 'wan').rglob('*.py'), ROOT / 'generate.py',
             ROOT / 'run_experiments.py']
    named = {file.relative_to(ROOT).as_posix()
             for file in files if own & strings(file)}
    # The sources' list names the module wan/pvtt.py.
    assert named - {'wan/utils/sources.py'} == {'wan/tasks.py'}


def test_the_table_is_nothing_else():
    source = inspect.getsource(tasks)
    assert len(source.splitlines()) <= 100
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(
        node, (ast.FunctionDef, ast.ClassDef, ast.Lambda))]
    assert len(inspect.getsource(generate.main).splitlines()) <= 40


def test_no_flag_is_spoken_of_in_the_library():
    spoken = {
        f'{file.relative_to(ROOT)}: {text}'
        for room in ('jobs', 'experiments') for file in (
            ROOT / 'wan' / room).rglob('*.py')
        for text in strings(file) if isinstance(text, str) and '--' in text}
    assert spoken == set()


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_every_setting_is_explained(kind):
    assert set(argument_help(kind)) == set(kinds(kind))


@pytest.mark.parametrize('task', TASKS)
def test_a_tasks_settings_have_names_of_their_own(task):
    names = [name for kind in TASKS[task].kinds for name in kinds(kind)]
    assert len(names) == len(set(names))


def test_what_tasks_share_is_of_one_type():
    r"""A flag reads it before the task is known."""
    types = {}
    for kind in KINDS:
        for name, type_ in kinds(kind).items():
            assert types.setdefault(name, type_) == type_, name


def test_switched_off_settings_exist():
    table = (*edit_settings.IDLE, *text.IDLE, extension.IDLE)
    known = {name for kind in KINDS for name in kinds(kind)}
    assert {name for row in table for name in row.names} <= known


# Help


def help_of(capsys, *flags):
    with pytest.raises(SystemExit) as ended:
        generate.main([*flags, '--help'])
    assert ended.value.code == 0
    return ' '.join(capsys.readouterr().out.split())


def test_help_of_a_task_tells_its_settings_alone(capsys):
    text = help_of(capsys, '--task', 't2v-tiny')
    assert '--sample_solver' in text and '--device' in text
    assert '--ref_c' not in text and '--src_video' not in text
    # The defaults of this task, with this model.
    prompt = WAN_CONFIGS['t2v-tiny'].defaults.prompt
    for line in ('4n + 1; an image has 1 (default: 17)',
                 'steps of the solver (default: 25)', '(default: 128*128)',
                 f'what to show (default: {prompt})'):
        assert line in text
    text = help_of(capsys, '--task', 'pvtt')
    assert '--sample_solver' not in text and '--prompt PROMPT' not in text
    assert '(default: the nearest to the template)' in text
    assert '(default: flowalign 19.5, flowedit 13.5' in text


def test_help_tells_everything_otherwise(capsys):
    text = help_of(capsys)
    for name in ('sample_solver', 'ref_c', 'device', 'config', 'dry_run'):
        assert f'--{name}' in text
    assert 'of --task pvtt' in text
    assert '(default: 50)' in text


# A task of its own


@dataclass(frozen=True)
class ToySettings:
    r"""What to repeat.

    Args:
        word: the word.
        times: how often.
    """
    word: str = 'ho'
    times: int = 2


class ToyPipeline:
    def __init__(self, config, folder, runtime):
        self.runtime = runtime


def prepare_toy(settings, checkpoint):
    toy = settings[ToySettings]
    if toy.times < 1:
        raise ValueError(f'times is {toy.times}: at least 1 is needed.')
    return Work(settings, (16, 16), 1, toy.word, ('say',), toy.times, 1,
                notes=('A toy.',), data=toy)


def run_toy(job, pipe, progress):
    toy, said = job.work.data, []
    with progress.stage('say', toy.times) as step:
        for n in range(toy.times):
            said.append(toy.word)
            step(n + 1, toy.times)
    job.record.results['said'] = len(said)
    return ' '.join(said)


def save_toy(folder, job, said, progress):
    (folder / job.save_file.name).write_text(said)


@pytest.fixture
def toy(monkeypatch, checkpoint, tmp_path):
    row = Task(
        pipeline=ToyPipeline, model_types=('t2v',), settings=(ToySettings,),
        prepare=prepare_toy, run=run_toy, save=save_toy, suffixes=('.txt',),
        defaults=lambda given, config: {'word': 'hey'})
    monkeypatch.setitem(TASKS, 'toy', row)
    return ['--task', 'toy', '--ckpt_dir', str(checkpoint), '--save_file',
            str(tmp_path / 'toy.txt')]


def test_a_row_is_all_a_task_needs(toy, tmp_path, capsys):
    with nothing_changes(tmp_path):
        assert generate.main([*toy, '--times=3', '--dry_run']) == 0
    plan = capsys.readouterr().out
    assert 'stages       load, say, save' in plan
    assert 'note         A toy.' in plan
    path = tmp_path / 'toy.txt'
    record = result(generate.main([*toy, '--times', '3']), path)
    assert path.read_text() == 'hey hey hey'
    assert record['arguments']['task'] == 'toy'
    assert (record['arguments']['word'], record['arguments']['times']) == (
        'hey', 3)
    assert list(record['seconds']) == ['load', 'say', 'save']
    assert record['results'] == {'notes': ['A toy.'], 'said': 3}
    assert '--word WORD' in help_of(capsys, '--task', 'toy')


def test_its_settings_are_its_own(toy, checkpoint, tmp_path, capsys):
    with nothing_changes(tmp_path):
        assert failure(capsys, 2, [*toy, '--times', 0]) == (
            'times is 0: at least 1 is needed.')
        assert failure(capsys, 2, [*toy, '--ref_c', 1]) == (
            'ref_c is not a setting of task toy; it is one of pvtt.')
        assert failure(capsys, 2, [
            '--task', 't2v-tiny', '--ckpt_dir', checkpoint, '--word', 'a']
        ) == 'word is not a setting of task t2v-tiny; it is one of toy.'


def test_a_caller_in_python_needs_no_command_line(toy, checkpoint, tmp_path):
    path = tmp_path / 'toy.txt'
    job = jobs.prepare(TASKS, 'toy', {
        'ckpt_dir': checkpoint, 'word': 'ha', 'save_file': path})
    assert jobs.execute(job) == path
    assert path.read_text() == 'ha ha'
    assert json.loads(path.with_suffix('.json').read_text())['arguments'][
        'ckpt_dir'] == str(checkpoint)
