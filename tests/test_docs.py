r"""The documents: what they name exists, and what they tell to run parses."""
import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

import generate
import run_experiments
from wan.jobs.task import Job
from wan.synth.bench.__main__ import build_parser as bench_parser
from wan.tasks import TASKS
from wan.utils.flags import names

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding='utf-8')
    for path in (ROOT / 'README.md', ROOT / 'INSTALL.md',
                 *sorted((ROOT / 'docs').rglob('*.md')))}
# Where the flags of a task are explained.
FLAG_PAGES = {
    'pvtt': ('docs/pvtt.md',), **dict.fromkeys(
        ('t2v-14B', 'i2v-14B', 'flf2v-14B', 'vace-14B'),
        ('README.md', 'docs/pvtt.md'))}
# Names of the repository begin with one of these, or have such an ending.
FOLDERS = ('wan/', 'tests/', 'tools/', 'benchmarks/', 'docs/', 'configs/',
           'checkpoints/', 'examples/')
SUFFIXES = ('.py', '.md', '.toml', '.txt')


def flags(task):
    r"""(task, flag, its defaults as --help shows them) of every flag."""
    return [
        (task, action.option_strings[-1], re.findall(
            r'\(default: ([^\s();]+)\)', action.help))
        for action in generate.build_parser(only=task)._actions
        if action.dest != 'help']


def explanations(page, flag):
    r"""The table rows and paragraphs of a page that name a flag."""
    blocks = re.split(r'\n\s*\n', PAGES[page])
    parts = [part for block in blocks for part in (
        block.splitlines() if block.startswith('|') else [block])]
    return [part for part in parts if re.search(rf'{flag}(?!\w)', part)]


def blocks(page):
    r"""The code blocks of a page, indented or fenced."""
    text = PAGES[page]
    fenced = re.findall(r'^```\w*\n(.*?)^```', text, re.DOTALL | re.M)
    indented = re.findall(r'(?:^(?: {4}.*)?\n)+', text, re.M)
    return fenced + [re.sub(r'^ {4}', '', b, flags=re.M) for b in indented]


def commands(page):
    r"""The words of every command that a page tells to run."""
    lines = re.sub(r'\\\n *', '', '\n'.join(blocks(page))).splitlines()
    return [shlex.split(line, comments=True) for line in lines
            if re.match(r'(python|make) ', line)]


def programs(page):
    r"""The code blocks that are Python."""
    return [b for b in blocks(page) if re.search(r'^from \w+', b, re.M)]


@pytest.mark.parametrize(
    ('task', 'flag', 'defaults'),
    [case for task in FLAG_PAGES for case in flags(task)])
def test_every_flag_is_explained_with_its_default(task, flag, defaults):
    found = [part for page in FLAG_PAGES[task]
             for part in explanations(page, flag)]
    assert found, f'{flag} is not in {", ".join(FLAG_PAGES[task])}.'
    for default in defaults:
        value = re.escape(default.removesuffix('.0'))
        assert any(re.search(rf'(?<![\w.]){value}(\.0)?(?![\w.]\w)', part)
                   for part in found), f'The default of {flag} is {default}.'


@pytest.mark.parametrize('page', PAGES)
def test_every_command_parses(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command in commands(page):
        program, *args = command[1:]
        if command[0] == 'make':
            makefile = (ROOT / 'Makefile').read_text()
            assert re.search(rf'^{program}:', makefile, re.M), command
        elif program == 'generate.py' and 'NAME' not in args:
            asked = generate.parse_args(args)
            assert {*asked.given} <= {*names(*TASKS[asked.task].kinds)}
        elif program == 'run_experiments.py':
            run_experiments.build_parser().parse_intermixed_args(args)
        elif program == '-m':
            module = ROOT / args[0].replace('.', '/')
            assert module.with_suffix('.py').is_file() or (
                module / '__main__.py').is_file(), command
            if args[0] == 'wan.synth.bench':
                bench_parser().parse_args(args[1:])
        else:
            assert (ROOT / program).is_file(), command


@pytest.mark.parametrize('page', PAGES)
def test_what_programs_import_exists(page):
    for code in programs(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name), name.name


def test_the_example_of_a_task_is_a_job(monkeypatch):
    monkeypatch.chdir(ROOT)
    scope = {'__name__': 'example'}
    exec(programs('docs/add_a_task.md')[0], scope)
    assert isinstance(scope['job'], Job)
    assert scope['job'].work.data.shape == (3, 17, 128, 128)


@pytest.mark.parametrize('page', PAGES)
def test_every_link_and_file_exists(page):
    folder = (ROOT / page).parent
    for link in re.findall(r'\]\(([^)]+)\)', PAGES[page]):
        path, _, anchor = link.partition('#')
        if '://' not in link:
            assert (folder / path).exists(), link
        if anchor:
            other = str((folder / path).resolve().relative_to(ROOT))
            heads = re.findall(r'^#+ (.*)', PAGES[other], re.M)
            assert anchor in [
                re.sub(r'[^\w -]', '', x.lower()).replace(' ', '-')
                for x in heads], link
    named = [name for name in re.findall(r'`([\w./*-]+)`', PAGES[page])
             if name.startswith(FOLDERS) or (
                 '/' not in name and name.endswith(SUFFIXES))]
    assert [name for name in named if not (
        any(ROOT.glob(name)) or any(folder.glob(name)))] == []


def test_the_benchmark_page_has_the_tables_numbers():
    table = {}
    for row in PAGES['docs/quality/table.md'].splitlines():
        cells = [cell.strip() for cell in row.split('|')[1:-1]]
        if cells[:1] == ['row']:
            heads = [re.sub(r' [↑↓→].*', '', head) for head in cells]
        elif row.startswith('| `'):
            means = [cell.split(' ')[0] for cell in cells]
            table.setdefault(cells[0], {}).update(
                zip(heads, means, strict=True))
    shown = [row.replace('*', '').split('|')[1:-1]
             for row in PAGES['docs/quality/README.md'].splitlines()
             if re.match(r'\| \**`', row)]
    assert len(shown) > 5
    for name, _, *cells in shown:
        assert [cell.strip() for cell in cells] == [
            table[name.strip()][head] for head in (
                'product error', 'right minus wrong', 'background PSNR',
                'shape')]
