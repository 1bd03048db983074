r"""One way down: a lower floor of the house never imports an upper one."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up; a package stands for what is in it unless a module of it
# is named. What is named nowhere is on the floor of wan.tasks.
FLOORS = (
    ('wan.utils', 'wan.configs'),
    ('wan.modules.attention', 'wan.distributed'),
    ('wan.modules',),
    ('wan.samplers', 'wan.refdrop', 'wan.product', 'wan.training'),
    ('wan.flowalign', 'wan.edit_config'),
    ('wan.pipeline', 'wan.branches'),
    ('wan.text2video', 'wan.image2video', 'wan.first_last_frame2video',
     'wan.vace', 'wan.pvtt'),
    ('wan.tasks',),
    ('generate',),
)
LEVELS = {name: i for i, names in enumerate(FLOORS) for name in names}
PIPELINES = {
    'wan.branches', 'wan.pipeline', 'wan.text2video', 'wan.image2video',
    'wan.first_last_frame2video', 'wan.vace', 'wan.pvtt'}


def sources():
    r"""Name -> file of every module of the project."""
    found = {'generate': ROOT / 'generate.py'}
    for file in (ROOT / 'wan').rglob('*.py'):
        parts = file.relative_to(ROOT).with_suffix('').parts
        found['.'.join(parts).removesuffix('.__init__')] = file
    return {k: v for k, v in found.items() if v.is_file()}


SOURCES = sources()


def imports(name):
    r"""The project's modules that a module imports, anywhere in it."""
    file = SOURCES[name]
    package = name if file.stem == '__init__' else name.rpartition('.')[0]
    wanted = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            wanted += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                above = package.split('.')
                above = above[:len(above) + 1 - node.level]
                base = '.'.join([*above, base] if base else above)
            for a in node.names:
                inner = f'{base}.{a.name}'
                wanted.append(inner if inner in SOURCES else base)
    return {m for m in wanted if m.split('.')[0] in ('wan', 'generate')}


def level(name):
    parts = name.split('.')
    prefixes = ['.'.join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((LEVELS[p] for p in prefixes if p in LEVELS),
                LEVELS['wan.tasks'])


@pytest.mark.parametrize('name', sorted(set(SOURCES) - {'wan'}))
def test_no_floor_imports_an_upper_one(name):
    upper = {m for m in imports(name) if level(m) > level(name)}
    assert not upper


@pytest.mark.parametrize(
    'name', sorted(m for m in SOURCES if m.startswith('wan.utils')))
def test_utilities_import_only_utilities(name):
    assert all(m.startswith('wan.utils') for m in imports(name))


@pytest.mark.parametrize('name', sorted(SOURCES))
def test_only_pipelines_import_the_reference_bank(name):
    r"""Its settings, plain values, may be named by flags and files.

    The benchmark takes the pipelines' methods apart, and so may use it too.
    """
    if name in PIPELINES or name.startswith(
            ('wan.refdrop', 'wan.synth.bench')):
        return
    allowed = {'wan.refdrop.config'} if level(name) >= LEVELS['wan.tasks'] \
        else set()
    used = {m for m in imports(name) if m.startswith('wan.refdrop')}
    assert used <= allowed


def test_imports_are_understood():
    assert 'wan.modules.attention' in imports('wan.modules.attention_layers')
    assert 'wan.utils.checkpoint' in imports('wan.modules.model')
    assert 'wan.modules' in imports('wan')
    assert level('wan.modules.attention') < level('wan.modules.model')
    assert level('wan.anything') == level('wan.tasks')
