r"""tools/graft.py as a command, on a stand-in for Wan2.1."""
import shutil
from pathlib import Path

import pytest

from tests.tools.recorded_checkout import write_checkout
from tests.tools.standin import git
from tools import graft
from tools.graft_files import files_to_copy

ROOT = Path(graft.__file__).parents[1]
MOST_LINES = 60


def contents(folder):
    r"""Path -> bytes of all that is not git's own."""
    return {path.relative_to(folder): path.read_bytes()
            for path in folder.rglob('*')
            if path.is_file() and '.git' not in path.parts}


def test_the_diff_is_small_and_what_git_sees(on, plain, capsys):
    assert graft.main([str(plain), '--check']) == 0
    said = capsys.readouterr().out
    numbers = [line.split('\t') for line in git(
        on, 'diff', '--numstat').splitlines()]
    changed = sum(int(a) + int(b) for a, b, _ in numbers)
    assert {name for _, _, name in numbers} == set(graft.EDITS)
    assert changed <= MOST_LINES and f"Wan2.1's files {changed} lines" in said
    new = git(on, 'ls-files', '-o', '--exclude-standard').split()
    assert sorted(new) == sorted(files_to_copy(plain))
    assert 45 <= len(new) <= 75  # as docs/review.md says, roughly
    for name in new:
        if name != 'wan/grafted.py':
            assert (on / name).read_bytes() == (ROOT / name).read_bytes()


def test_check_writes_nothing(checkout):
    before = contents(checkout)
    assert graft.main([str(checkout), '--check']) == 0
    assert contents(checkout) == before and not git(
        checkout, 'status', '--porcelain')


def test_undo_brings_everything_back(checkout):
    before = contents(checkout)
    folders = {p for p in checkout.rglob('*')
               if p.is_dir() and '.git' not in p.parts}
    assert graft.main([str(checkout)]) == 0
    (checkout / 'wan/refdrop/__pycache__').mkdir()
    (checkout / 'wan/refdrop/__pycache__/bank.cpython-311.pyc').touch()
    assert graft.main([str(checkout), '--undo']) == 0
    assert contents(checkout) == before
    assert not git(checkout, 'status', '--porcelain', '--ignored')
    assert folders == {p for p in checkout.rglob('*')
                       if p.is_dir() and '.git' not in p.parts}
    assert graft.main([str(checkout)]) == 0  # and once more


def test_an_interrupted_graft_is_taken_off(checkout, monkeypatch):
    before, write = contents(checkout), Path.write_bytes

    def fail(path, text):
        if path.name == '__init__.py' and path.parent.name == 'wan':
            raise OSError('the disk is full')
        return write(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'write_bytes', fail)
        assert graft.main([str(checkout)]) == 1
    assert contents(checkout) != before
    assert graft.main([str(checkout), '--undo']) == 0
    assert contents(checkout) == before


@pytest.mark.parametrize('name', ['wan/pvtt.py', 'wan/modules/model.py'])
def test_undo_keeps_what_was_edited_since(checkout, capsys, name):
    assert graft.main([str(checkout)]) == 0
    with (checkout / name).open('a') as file:
        file.write('# mine\n')
    before = contents(checkout)
    assert graft.main([str(checkout), '--undo']) == 1
    assert f'{name} was edited since' in capsys.readouterr().err
    assert contents(checkout) == before


def refused(checkout, capsys, *flags):
    r"""Why, and that nothing has changed."""
    before = contents(checkout)
    assert graft.main([str(checkout), *flags]) == 1
    assert contents(checkout) == before
    return capsys.readouterr().err


def test_untouched_is_what_has_no_changes(checkout, capsys):
    (checkout / 'notes.txt').touch()
    assert 'the first: ?? notes.txt' in refused(checkout, capsys)
    (checkout / 'notes.txt').unlink()
    (checkout / 'generate.py').open('a').close()
    (checkout / 'generate.py').write_text('')
    assert 'the first: M generate.py' in refused(checkout, capsys, '--check')


def test_once_is_enough(checkout, capsys):
    assert 'is not grafted' in refused(checkout, capsys, '--undo')
    assert graft.main([str(checkout)]) == 0
    for flags in ((), ('--check',)):
        assert 'is grafted already' in refused(checkout, capsys, *flags)


def test_there_must_be_a_diff_to_read(checkout, capsys):
    shutil.rmtree(checkout / '.git')
    assert 'is no git checkout' in refused(checkout, capsys)


def test_nothing_is_written_elsewhere(checkout, tmp_path, capsys):
    (tmp_path / 'elsewhere').mkdir()
    (checkout / 'wan/refdrop').symlink_to(tmp_path / 'elsewhere')
    git(checkout, 'add', '-A')
    git(checkout, 'commit', '-qm', 'a link')
    assert 'leads out of the checkout' in refused(checkout, capsys)
    assert not any((tmp_path / 'elsewhere').iterdir())


def test_no_checkout_is_a_usage_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        graft.main([str(tmp_path)])
    assert stop.value.code == 2
    assert 'is not a Wan2.1 checkout: it has no' in capsys.readouterr().err


@pytest.mark.parametrize('path, old, new, missing', [
    ('generate.py', 'EXAMPLE_PROMPT', 'EXAMPLES',
     'generate.py: there is no EXAMPLE_PROMPT'),
    ('wan/utils/utils.py', 'def str2bool', 'def to_bool',
     'wan/utils/utils.py has no str2bool, which our wan/utils/flags.py '
     'imports'),
])
def test_a_checkout_of_another_shape_is_refused(
        checkout, capsys, path, old, new, missing):
    text = (checkout / path).read_text()
    (checkout / path).write_text(text.replace(old, new))
    git(checkout, 'commit', '-qam', 'another shape')
    assert missing in refused(checkout, capsys)


def test_our_files_need_no_name_that_upstream_lacks(tmp_path):
    r"""The recorded tables have the names of the real files."""
    files = files_to_copy(write_checkout(tmp_path))
    assert {'wan/pvtt.py', 'wan/velocity.py', 'wan/refdrop/__init__.py',
            'wan/grafted.py'} <= set(files)
    assert not [name for name in files if (tmp_path / name).exists()]


def test_the_readme_shows_the_diff(plain):
    diff = graft.plan(plain).diff()
    shown = (ROOT / 'README.md').read_text('utf-8')
    assert f'```diff\n{diff}```\n' in shown
    assert diff.count('\n') <= MOST_LINES
