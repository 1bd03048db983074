r"""The page as it is built and guarded, without a browser."""
import asyncio
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.test_layers import ROOT

# The folder of that name is a program of ours.
pytest.importorskip(
    'gradio.blocks', reason='the page needs gradio (extra ui)')
gr = pytest.importorskip('gradio')

from wan.page import app, shown  # noqa: E402
from wan.page.desk import COOKIE, Desk, Run, url  # noqa: E402
from wan.page.environment import cache, prepare_environment  # noqa: E402
from wan.page.guard import Guard  # noqa: E402
from wan.page.state import State  # noqa: E402
from wan.page.station import Station  # noqa: E402
from wan.page.task_tab import lacking  # noqa: E402
from wan.tasks import TASKS  # noqa: E402

pytestmark = pytest.mark.usefixtures('loops')


@pytest.fixture
def station(tmp_path, monkeypatch):
    monkeypatch.setenv('GRADIO_TEMP_DIR', '')
    monkeypatch.setenv('GRADIO_ANALYTICS_ENABLED', '')
    monkeypatch.setenv('HF_HUB_DISABLE_TELEMETRY', '')
    prepare_environment(tmp_path)
    made = Station(tmp_path)
    yield made
    made.close()


@pytest.fixture
def page(station, tmp_path):
    return app.build(station, app.checkpoint_of(None), tmp_path / 'log', True)


def asking(visitor):
    return SimpleNamespace(cookies={COOKIE: visitor})


def test_a_page_has_a_tab_for_every_task(page):
    tabs = [block.label for block in page.blocks.values()
            if isinstance(block, gr.Tab)]
    assert tabs == ['Product into video', 'Catalogue', *(
        task for task in TASKS if task != 'pvtt')]


def test_a_new_task_has_its_tab(station, tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS, 'dream', TASKS['t2v-tiny'])
    page = app.build(
        station, app.checkpoint_of(None), tmp_path / 'log', True)
    assert 'dream' in [block.label for block in page.blocks.values()
                       if isinstance(block, gr.Tab)]


def test_nothing_of_a_page_is_open_to_programs(page):
    assert {fn.api_visibility for fn in page.fns.values()} == {'private'}


def test_a_page_loads_nothing_from_elsewhere(page):
    for name in ('page.css', 'before_after.js', 'stale.js'):
        text = (Path(app.__file__).parent / name).read_text('utf-8')
        assert '//' not in text.replace('// ', '')
    assert not app.theme()._stylesheets
    assert page.analytics_enabled is False


@pytest.mark.parametrize('task, lacks', (
    ('t2v-tiny', False), ('t2v-14B', True), ('vace-1.3B', True)))
def test_a_task_that_the_checkpoint_cannot_run_says_so(task, lacks):
    assert bool(lacking(task, app.checkpoint_of(None))) == lacks


def test_a_video_stays_the_file_that_it_is(page):
    r"""Gradio would encode anew what a browser does not play."""
    videos = [block for block in page.blocks.values()
              if isinstance(block, gr.Video)]
    assert len(videos) == 3
    for video in videos:
        assert video.postprocess('a.mkv').path == 'a.mkv'
        assert video.postprocess(None) is None


# Whose files they are


def test_a_visitor_sees_his_own_files_alone(station):
    guard = Guard(None, station, [cache(), ROOT / 'examples'])
    mine, other = station.new_visitor(), station.new_visitor()
    own = station.folder(mine) / 'edit.mp4'
    asked = f'/{url(own)}'
    assert guard.allowed(asked, mine)
    assert not guard.allowed(asked, other)
    assert not guard.allowed(asked, 'nobody')
    stranger = station.new_visitor()
    assert not guard.allowed(asked, stranger)
    assert not (station.root / stranger).exists()
    assert guard.allowed(f'/{url(ROOT / "examples" / "product.png")}', other)
    assert guard.allowed(f'/{url(cache() / "ab" / "product.png")}', other)


@pytest.mark.parametrize('name', (
    '/etc/passwd', '../../etc/passwd', 'http://example.org/a.png',
    '{own}/../{other}/edit.mp4', '{own}/%2e%2e/{other}/edit.mp4',
    '{own}/../page.log', '{own}/link.mp4', ''))
def test_tricks_with_paths_are_refused(station, tmp_path, name):
    guard = Guard(None, station, [cache()])
    mine, other = station.new_visitor(), station.new_visitor()
    own = station.folder(mine)
    (own / 'link.mp4').symlink_to(station.folder(other))
    name = name.format(own=own, other=other)
    for prefix in ('/gradio_api/file=', '/file=', '/gradio_api/file/',
                   '/file/'):
        assert not guard.allowed(prefix + name, mine)
    assert not guard.allowed('/gradio_api/proxy=http://example.org', mine)


def test_a_visitor_is_known_by_a_cookie_that_no_script_reads(station):
    visitor = station.new_visitor()
    sent = []

    async def inner(scope, receive, send):
        await send({'type': 'http.response.start', 'status': 200,
                    'headers': []})

    async def send(message):
        sent.append(message)

    def ask(path, *headers):
        sent.clear()
        asyncio.run(Guard(inner, station, [])(
            {'type': 'http', 'path': path, 'headers': headers}, None, send))
        return dict(sent[0]['headers'])

    given = ask('/')[b'set-cookie'].decode()
    assert given.startswith(f'{COOKIE}=') and 'HttpOnly' in given
    assert 'SameSite=Strict' in given
    known = ask('/', (b'cookie', f'{COOKIE}={visitor}'.encode()))
    assert b'set-cookie' not in known
    assert b"default-src 'self'" in known[b'content-security-policy']


def test_without_a_cookie_nothing_is_done(station, tmp_path):
    desk = Desk(station, tmp_path / 'log', True)
    for visitor in ('', '../other'):
        with pytest.raises(gr.Error, match='cookie'):
            desk.visitor(asking(visitor))


def test_a_fault_is_one_sentence_and_names_the_log(station, tmp_path):
    desk = Desk(station, tmp_path / 'log', True)
    with pytest.raises(gr.Error, match=r'went wrong.*KeyError.*log'), \
            desk.faults():
        raise KeyError('x')
    with pytest.raises(ValueError, match='bad input'), desk.faults():
        raise ValueError('bad input')


def test_others_are_not_told_where_files_are(station, tmp_path):
    visitor = station.new_visitor()
    file = station.folder(visitor) / 'uploads' / 'clip.mp4'
    run = Run('pvtt', 'pvtt', {'src_video': str(file)}, 'preview')
    for local in (True, False):
        desk = Desk(station, tmp_path / 'log', local)
        line = desk.command(run, asking(visitor))
        assert (str(tmp_path) in line) == local
        assert line.endswith('--preview') and 'clip.mp4' in line


def test_a_command_has_the_seed_that_was_drawn(station, tmp_path):
    run = Run('t2v-tiny', 't2v-tiny', {'prompt': 'a disc.'}, None)
    desk, visitor = Desk(station, tmp_path / 'log', True), station.new_visitor()
    assert '--base_seed 7' in desk.command(run, asking(visitor), 7)
    assert 'base_seed' not in desk.command(run, asking(visitor))


# What is shown


def test_what_visitors_wrote_is_escaped():
    evil = '<img src=x onerror=alert(1)>'
    for text in (shown.notes([evil]), shown.failure(evil),
                 shown.picture(Path('/a.png'), evil)):
        assert '<img src=x' not in text
    assert '"' not in url(Path('/a"b.mp4')).removeprefix('gradio_api')


def test_a_running_job_tells_stage_step_and_time():
    text = shown.progress(State(
        'running', stage='edit', done=3, total=12, eta=95.))
    for part in ('Editing', 'step 3 of 12', 'about 2 min', 'width:25.0%',
                 'aria-valuenow="25"'):
        assert part in text


@pytest.mark.parametrize('place, text', (
    (1, 'next in line'), (4, '3 before you')))
def test_a_waiting_job_tells_its_place(place, text):
    assert text in shown.progress(State('waiting', place=place))


@pytest.mark.parametrize('seconds, text', (
    (0.2, '1 s'), (59, '59 s'), (300, '5 min'), (7500, '2 h 5 min')))
def test_times_as_one_says_them(seconds, text):
    assert shown.span(seconds) == text


def test_numbers_are_told_in_words():
    text = shown.numbers({'share': 0.125, 'psnr_outside': 51.27})
    assert '12.5% of the picture' in text and '51.3 dB' in text
    assert shown.numbers({}) == ''


# The launcher


@pytest.fixture
def launcher(monkeypatch):
    monkeypatch.setattr(sys, 'path', list(sys.path))
    spec = spec_from_file_location('launcher', ROOT / 'gradio' / 'app.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('argv, told', (
    (['--listen'], 'listen needs user and password'),
    (['--listen', '--user', 'anna'], 'listen needs user and password'),
    (['--user', 'anna'], 'go together'),
    (['--user', 'anna', '--password', 'short'], 'at least 8'),
    (['--port', '0'], 'port is 0'),
    (['--ports', '1'], '--ports'),
    (['--ckpt_dir', 'nowhere'], 'nowhere')))
def test_bad_flags_are_one_sentence(
    launcher, argv, told, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv('GRADIO_TEMP_DIR', '')
    monkeypatch.setenv('GRADIO_ANALYTICS_ENABLED', '')
    monkeypatch.setenv('HF_HUB_DISABLE_TELEMETRY', '')
    assert launcher.main([*argv, '--out', str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.splitlines()) == 1


def test_the_folder_of_the_launcher_does_not_hide_the_library():
    assert not (ROOT / 'gradio' / '__init__.py').exists()
    assert Path(gr.__file__).parent != ROOT / 'gradio'
