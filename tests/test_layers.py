r"""One way down: who may import whom, and who may call the model."""
import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]

# From the ground up. A package stands for all that is in it, but for what has
# a room of its own. Each may import its own room and those below.
ROOMS = (
    ('wan.utils',),
    ('wan.footage',),
    ('wan.configs',),
    ('wan.modules.backends',),
    ('wan.modules.attention',),
    ('wan.modules',),
    ('wan.distributed',),
    ('wan.runtime',),
    ('wan.team', 'wan.distributed.team'),
    ('wan.samplers', 'wan.conditioning', 'wan.velocity',
     'wan.step_cache', 'wan.windows'),
    ('wan.flowalign',),
    ('wan.edit_config',),
    ('wan.refdrop', 'wan.product'),
    ('wan.sparse',),
    ('wan.pipeline', 'wan.vace_context'),
    ('wan.given_frames', 'wan.edit_inputs'),
    ('wan.edit_steps',),
    ('wan.pending',),
    ('wan.together',),
    ('wan.text2video', 'wan.image2video', 'wan.first_last_frame2video',
     'wan.vace', 'wan.pvtt'),
    ('wan.training',),
    ('wan.jobs',),
    ('wan.tasks',),
    ('wan.experiments',),
    ('wan.page',),
    # The toy world and its benchmark: nothing of the package needs them.
    ('wan.synth',),
    ('generate', 'gradio.app'),
    ('run_experiments',),
)
FLOORS = {name: i for i, names in enumerate(ROOMS) for name in names}

# A call of that name -> where it may stand: one place calls the model, and
# there is no second copy of its forward.
CALLS = {
    'model': ('wan.velocity', 'wan.modules'),
    'transformer': (),
    'block': ('wan.modules',),
    'run_blocks': ('wan.modules', 'wan.synth.train'),
}


def sources():
    r"""Name -> file of every Python module of the repository."""
    files = [*ROOT.glob('*.py'), *(
        file for folder in ('wan', 'gradio', 'tools', 'benchmarks', 'tests')
        for file in (ROOT / folder).rglob('*.py'))]
    return {
        '.'.join(file.relative_to(ROOT).with_suffix('').parts).removesuffix(
            '.__init__'): file for file in files}


def inside(name, *packages):
    r"""Whether a module is one of the packages or in one."""
    return any(f'{name}.'.startswith(f'{package}.') for package in packages)


SOURCES = sources()
# `wan` itself only exports what is inside.
HOUSE = sorted(
    name for name in SOURCES
    if not inside(name, 'tools', 'benchmarks', 'tests') and name != 'wan')


@cache
def tree(name):
    return ast.parse(SOURCES[name].read_text('utf-8'))


@cache
def imports(name):
    r"""The repository's modules that a module imports, anywhere in it."""
    is_package = SOURCES[name].stem == '__init__'
    package = name if is_package else name.rpartition('.')[0]
    wanted = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            wanted |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split('.')
            above = above[:len(above) + 1 - node.level] if node.level else []
            base = '.'.join([*above, *filter(None, [node.module])])
            inner = {f'{base}.{a.name}' for a in node.names}
            wanted |= {n if n in SOURCES else base for n in inner}
    return wanted & set(SOURCES)


def calls(name):
    r"""The last names of all that a module calls: `f` of `a.f(x)`."""
    called = (n.func for n in ast.walk(tree(name)) if isinstance(n, ast.Call))
    return {getattr(f, 'id', getattr(f, 'attr', None)) for f in called}


def floor(name):
    r"""That of the nearest package that has one, else above all."""
    while name not in FLOORS and '.' in name:
        name = name.rpartition('.')[0]
    return FLOORS.get(name, len(ROOMS))


def pairs():
    r"""(importer, imported) of all modules in the house."""
    return [(a, b) for a in HOUSE for b in sorted(imports(a))]


def test_every_module_has_a_room():
    assert not [name for name in HOUSE if floor(name) == len(ROOMS)]


def test_no_room_imports_an_upper_one():
    assert not [
        f'{a} imports {b}' for a, b in pairs()
        if b not in HOUSE or floor(b) > floor(a)]


def test_no_circle():
    TopologicalSorter({name: imports(name) for name in SOURCES}).prepare()


def test_the_bank_is_the_edits_own():
    r"""Its settings, plain values, may be named by flags and files.

    The benchmark takes the edit apart, and so may use the bank too.
    """
    assert not [
        f'{a} imports {b}' for a, b in pairs()
        if inside(b, 'wan.refdrop') and b != 'wan.refdrop.config'
        and not inside(a, 'wan.refdrop', 'wan.edit_steps', 'wan.pending',
                       'wan.synth.bench')
        and not (inside(a, 'wan.jobs') and b == 'wan.refdrop.bank_file')]


def test_one_place_calls_the_model():
    assert 'model' in calls('wan.velocity')
    assert not [
        f'{name} calls {call}' for name in HOUSE for call in calls(name)
        if call in CALLS and not inside(name, *CALLS[call])]


def test_tools_benchmarks_and_tests_make_no_circle():
    r"""A benchmark is imported only to be tested."""
    allowed = {
        'tools': ('tools', 'wan', 'generate', 'run_experiments'),
        'benchmarks': ('benchmarks', 'wan'),
        'tests': ('tests', 'tools', 'wan', 'generate', 'gradio.app',
                  'run_experiments'),
        'tests.test_benchmarks': ('tests', 'benchmarks', 'wan'),
    }
    assert not [
        f'{a} imports {b}' for a in SOURCES if a not in HOUSE and a != 'wan'
        for b in imports(a)
        if not inside(b, *allowed.get(a, allowed[a.partition('.')[0]]))]
