r"""tools/upstream_diff.py: on small trees, and on this repository."""
import re
from html.parser import HTMLParser

import pytest

from tests.tools.recorded_checkout import write_checkout
from tools import settings, upstream_diff
from tools.checkout import commit_of
from tools.comparison import Report, Row, compare, explain
from tools.diff_html import html_report
from tools.interface import read_interface, recorded_interface
from tools.recorded import table


def test_reasons():
    rows = [Row('wan.a', 'f', 'changed'), Row('wan.a', 'g', 'left out'),
            Row('wan.b', '', 'left out'), Row('wan.a', 'h', 'added')]
    stale = explain(rows, {
        'changed': {'wan.a.g': 'it is left out, so this is stale'},
        'left out': {'wan.[ab]*': 'not needed'},
    })
    assert stale == ['changed: wan.a.g']
    assert [row.reason for row in rows] == ['', 'not needed', 'not needed', '']
    assert Report('', rows).unexplained == [rows[0]]


def test_reasons_for_another_state_are_refused():
    with pytest.raises(ValueError, match="not 'added'"):
        explain([], {'added': {'*': 'fine'}})


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    return write_checkout(tmp_path_factory.mktemp('upstream'))


def test_reading_a_checkout_gives_the_recorded_tables(checkout):
    theirs = recorded_interface(table('api'))
    read_back = read_interface(checkout)
    assert set(read_back) == set(theirs)
    for module, names in theirs.items():
        assert read_back[module] == names, module
    assert settings.read_flags(checkout) == settings.recorded_flags(
        table('cli'))
    assert settings.read_configs(checkout) == settings.recorded_configs(
        table('configs'))


@pytest.mark.parametrize('old, new, state, detail', [
    ("default='unipc'", "default='dpm++'", 'changed', "'unipc' -> 'dpm++'"),
    ("['unipc', 'dpm++']", "['unipc', 'dpm++', 'euler']", 'added', 'choices'),
    ("['unipc', 'dpm++']", "['unipc']", 'changed', 'choices'),
    ('--sample_solver', '--solver', 'left out', ''),
])
def test_flag_differences(checkout, tmp_path, old, new, state, detail):
    ours = write_checkout(tmp_path)
    generate = ours / 'generate.py'
    text = generate.read_text('utf-8')
    assert old in text
    generate.write_text(text.replace(old, new), encoding='utf-8')
    rows = compare(settings.read_flags(checkout), settings.read_flags(ours))
    row = next(r for r in rows if r.full_name == 'cli.--sample_solver')
    assert row.state == state
    assert detail in row.detail


def test_config_differences(checkout, tmp_path):
    ours = write_checkout(tmp_path)
    path = ours / 'wan/configs/wan_t2v_1_3B.py'
    path.write_text(
        path.read_text('utf-8') + '\nt2v_1_3B.num_layers = 15 * 2 + 1',
        encoding='utf-8')
    rows = compare(
        settings.read_configs(checkout), settings.read_configs(ours))
    changed = {r.full_name: r.detail for r in rows if r.state != 'same'}
    name = 'configs.WAN_CONFIGS.{}.num_layers'.format
    assert changed == {name('t2v-1.3B'): '30 -> 31',
                       name('vace-1.3B'): '30 -> 31'}


def test_checkpoint_keys_differ():
    theirs = settings.recorded_keys(['vae'])
    ours = {'state_dicts.vae': dict(theirs['state_dicts.vae'])}
    key = next(iter(ours['state_dicts.vae']))
    ours['state_dicts.vae'][key] = (1,)
    row = compare(theirs, ours)[0]
    assert (row.name, row.state) == (key, 'changed')


def test_html_report(tmp_path):
    rows = compare({'wan.net': {'LIMIT': 1}}, {'wan.net': {'LIMIT': '<b>'}})
    rows += compare({'wan.old': dict.fromkeys('abc', 2)}, {})
    rows += compare({'cli': {'--a': 1}}, {'cli': {'--a': 1, '--b': 2}})
    page = html_report(Report('a & b', rows, stale=['left out: wan.old']))
    assert page.startswith('<!doctype html>')
    assert 'a &amp; b' in page and '&lt;b&gt;' in page
    assert page.count('<b>') == 3  # the sections
    # one flag of five names is the same, by kind all of Wan2.1's flags are
    assert '<strong>20 %</strong>' in page and '1 of 5 names' in page
    assert '<th>command-line flags</th><td>100 %</td><td>1</td>' in page
    assert '<td data-label="Wan2.1"><code>1</code></td>' in page
    assert 'no reason given' in page
    assert 'wan.old' in page
    # nothing from outside, and nothing that a browser would have to mend
    assert not re.search(r'https?:|\bsrc=|<link|@import|url\(', page)
    assert Page().check(page) == []


class Page(HTMLParser):
    r"""Elements that are opened are closed, in order."""

    def check(self, page):
        self.stack, self.faults = [], []
        self.feed(page)
        return self.faults + self.stack

    def handle_starttag(self, tag, attrs):
        if tag not in ('meta', 'input', 'li'):
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.faults.append(tag)


def test_no_checkout_is_a_usage_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        upstream_diff.main([str(tmp_path)])
    assert stop.value.code == 2
    assert 'is not a Wan2.1 checkout: it has no' in capsys.readouterr().err


def write_git(root, files):
    for name, text in files.items():
        path = root / '.git' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize('files, commit', [
    ({'HEAD': '9737cba1\n'}, '9737cba1'),
    ({'HEAD': 'ref: refs/heads/main\n', 'refs/heads/main': 'a1b2c3d4\n',
      'packed-refs': 'ffffffff refs/heads/main\n'}, 'a1b2c3d4'),
    ({'HEAD': 'ref: refs/heads/main\n',
      'packed-refs': '# pack-refs with: peeled\n00000000 refs/heads/other\n'
      'a1b2c3d4 refs/heads/main\n^ffffffff\n'}, 'a1b2c3d4'),
    ({'HEAD': 'ref: refs/heads/unborn\n'}, None),
    ({}, None),
])
def test_commit_of_a_checkout(tmp_path, files, commit):
    assert commit_of(write_git(tmp_path, files)) == commit


def test_commit_of_a_worktree(tmp_path):
    write_git(tmp_path / 'main', {
        'refs/heads/side': 'a1b2c3d4\n', 'worktrees/it/commondir': '../..\n',
        'worktrees/it/HEAD': 'ref: refs/heads/side\n'})
    (tmp_path / 'side').mkdir()
    (tmp_path / 'side/.git').write_text('gitdir: ../main/.git/worktrees/it\n')
    assert commit_of(tmp_path / 'side') == 'a1b2c3d4'


@pytest.mark.parametrize('commit, said', [
    ('9737cba112233', '(at 9737cba)'),
    ('a1b2c3d4e5f60', '(it seems to be at a1b2c3d; ours was made after '
     '9737cba)')])
def test_another_commit_is_named_and_compared(
        tmp_path, capsys, commit, said):
    write_git(write_checkout(tmp_path), {'HEAD': f'{commit}\n'})
    upstream_diff.main([str(tmp_path)])
    head, _, rest = capsys.readouterr().out.partition('\n')
    assert said in head and 'wan.modules.model: ' in rest


def test_unreadable_checkout_is_a_usage_error(tmp_path, capsys):
    (write_checkout(tmp_path) / 'wan/vace.py').write_text('def (')
    with pytest.raises(SystemExit) as stop:
        upstream_diff.main([str(tmp_path)])
    assert stop.value.code == 2
    assert 'cannot be read' in capsys.readouterr().err


def test_every_difference_of_this_repository_has_a_reason(capsys):
    assert upstream_diff.main([]) == 0, capsys.readouterr().out


def test_a_checkout_compares_like_the_recorded_tables(
        checkout, tmp_path, capsys):
    html = tmp_path / 'report.html'
    status = upstream_diff.main([str(checkout), '--html', str(html)])
    from_checkout = capsys.readouterr().out.splitlines()
    assert upstream_diff.main([]) == status
    recorded = capsys.readouterr().out.splitlines()
    # only the order may differ
    assert sorted(from_checkout[1:]) == sorted(recorded[1:])
    assert html.stat().st_size > 10_000


def test_a_new_upstream_name_needs_a_reason(tmp_path, capsys):
    module = write_checkout(tmp_path) / 'wan/modules/vae.py'
    module.write_text(module.read_text('utf-8') + 'def brand_new(): pass\n')
    assert upstream_diff.main([str(tmp_path)]) == 1
    assert 'Without a reason: wan.modules.vae.brand_new' in (
        capsys.readouterr().out)
