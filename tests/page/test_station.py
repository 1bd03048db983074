r"""One job at a time, one loaded model, and nobody sees another's."""
import gc
import threading

import pytest
import torch

import generate
from tests.page.edits import CLIP, PHOTOS, SOURCE, until, uploaded
from wan.jobs.task import Job
from wan.page import errand, works
from wan.page.errand import Errand
from wan.page.glimpse import Glimpse
from wan.page.station import State, Station
from wan.utils.progress import Step


@pytest.fixture(scope='module')
def station(tmp_path_factory):
    station = Station(tmp_path_factory.mktemp('page'))
    yield station
    station.close()


@pytest.fixture
def visitor(station):
    return station.new_visitor()


def done(station, ticket, visitor):
    state = station.wait(ticket, visitor, 300)
    assert state.status == 'done', state
    return state


def wrong(call, *args):
    with pytest.raises(ValueError) as caught:
        call(*args)
    return str(caught.value)


@pytest.fixture
def gate(monkeypatch):
    r"""Holds jobs on the device at their beginning until it is opened, or they
    are cancelled."""
    opened, execute = threading.Event(), works.jobs.execute

    def held(job, pipe, progress):
        if pipe is None:
            return execute(job, pipe, progress)
        with progress.stage('edit', 10**6) as step:
            for i in range(10**6):
                step(i + 1, 10**6)
                if opened.wait(0.01):
                    break
        return execute(job, pipe, progress)

    monkeypatch.setattr(works.jobs, 'execute', held)
    yield opened
    opened.set()


def test_the_command_lines_sentence_before_anything_is_loaded(
        station, visitor):
    settings = {**uploaded(station, visitor), 'source_prompt': ''}
    count = station.works.loaded.count
    told = wrong(station.submit, 'pvtt', settings, visitor)
    assert told == wrong(
        generate.prepare, generate.parse_args(['--task', 'pvtt', *(
            text for name in ('src_video', 'target_prompt')
            for text in (f'--{name}', str(settings[name])))]))
    assert station.works.loaded.count == count
    assert not station.tickets(visitor)


def test_files_stand_by_their_names(station, visitor, tmp_path):
    settings = uploaded(station, visitor)
    photo = settings['target_image'][0]
    photo.write_bytes(b'no more an image')
    assert wrong(station.submit, 'pvtt', settings, visitor).startswith(
        'product.png is not a readable image')


def test_an_edit_its_preview_and_another_task_share_one_model(
        station, visitor):
    settings = {**uploaded(station, visitor), 'measure': True}
    seen = station.preview('pvtt', settings, visitor)
    assert seen['result'].suffix == '.png' and seen['mask'].is_file()
    count = station.works.loaded.count

    found = done(station, station.submit('pvtt', settings, visitor), visitor)
    assert {'result', 'mask', 'record'} == set(found.files)
    assert all(path.is_file() for path in found.files.values())
    assert found.numbers['psnr_outside'] > 30
    assert found.glimpse is None and found.ended

    done(station, station.submit('t2v-tiny', CLIP, visitor), visitor)
    assert station.works.loaded.count == count
    done(station, station.submit(
        't2v-tiny', {**CLIP, 'attention': 'math'}, visitor), visitor)
    assert station.works.loaded.count == count + 1


def test_a_mask_that_is_given_is_previewed_while_the_device_works(
        station, visitor, gate):
    busy = station.submit('t2v-tiny', CLIP, visitor)
    until(lambda: station.state(busy, visitor).stage == 'edit')
    settings = {
        **uploaded(station, visitor), 'src_mask': station.accept(
            PHOTOS[0].with_name('template_mask.mp4'), 'mask', visitor)}
    assert station.preview('pvtt', settings, visitor)['result'].is_file()
    assert not station.state(busy, visitor).ended


def test_cancel_frees_the_device(station, visitor, gate):
    first, second, third = (
        station.submit('t2v-tiny', CLIP, visitor) for _ in range(3))
    until(lambda: station.state(first, visitor).done)
    assert station.state(first, visitor).eta > 0
    assert [station.state(t, visitor).place for t in (first, second, third)] \
        == [0, 1, 2]
    station.cancel(second, visitor)
    assert station.state(second, visitor).status == 'cancelled'
    assert station.state(third, visitor).place == 1
    station.cancel(first, visitor)
    assert station.wait(first, visitor, 300).status == 'cancelled'
    gate.set()
    done(station, third, visitor)


def test_a_fault_is_a_sentence_and_a_log_and_the_next_job_runs(
        station, visitor, monkeypatch):
    def fault(*args):
        raise RuntimeError('the card is\non fire')

    with monkeypatch.context() as patched:
        patched.setattr(works.jobs, 'execute', fault)
        found = station.wait(
            station.submit('t2v-tiny', CLIP, visitor), visitor, 300)
    assert found.status == 'failed'
    assert found.error.startswith(
        'RuntimeError: the card is on fire; the log is ')
    assert 'Traceback' in found.files['log'].read_text()
    done(station, station.submit('t2v-tiny', CLIP, visitor), visitor)


def test_what_became_wrong_while_it_waited(station, visitor, gate):
    settings = uploaded(station, visitor)
    busy = station.submit('t2v-tiny', CLIP, visitor)
    ticket = station.submit('pvtt', settings, visitor)
    settings['src_video'].unlink()
    gate.set()
    done(station, busy, visitor)
    found = station.wait(ticket, visitor, 300)
    assert found.error == "src_video must be a file that was uploaded here, " \
        "not 'template.mp4'."


def test_visitors_do_not_meet(station, visitor):
    other = station.new_visitor()
    settings = uploaded(station, visitor)
    ticket = station.submit('t2v-tiny', CLIP, visitor)
    for call in (station.state, station.cancel, station.wait):
        assert wrong(call, ticket, other) == 'There is no such job (any more).'
    assert station.tickets(other) == []
    assert 'uploaded here' in wrong(station.submit, 'pvtt', settings, other)
    done(station, ticket, visitor)


@pytest.mark.parametrize('name, value', (
    ('src_video', '/etc/passwd'),
    ('src_video', '../uploads/it.mp4'),
    ('target_image', ('/proc/self/environ',)),
    ('mask_model', '/'),
    ('ckpt_dir', '.'),
    ('prompt_extend_model', '/etc'),
    ('prompt_extend_model', 'somebody/model'),
    ('template', '/tmp'),
))
def test_no_file_of_the_machine(station, visitor, name, value):
    settings = {**uploaded(station, visitor), name: value}
    told = wrong(station.submit, 'pvtt', settings, visitor)
    assert told.startswith(f'{name} must be a file that was uploaded here')


def test_what_only_the_owner_sees_may_name_his_files(tmp_path):
    station = Station(tmp_path, free=('mask_model',))
    visitor = station.new_visitor()
    try:
        settings = {**uploaded(station, visitor), 'mask_model': '/nowhere',
                    'mask_method': 'sam2'}
        assert 'uploaded' not in wrong(
            station.submit, 'pvtt', settings, visitor)
        settings['template'] = '/nowhere'
        assert 'uploaded' in wrong(station.submit, 'pvtt', settings, visitor)
    finally:
        station.close()


def test_a_link_leads_nowhere(station, visitor):
    settings = uploaded(station, visitor)
    link = station.folder(visitor) / 'link.png'
    link.symlink_to('/etc/passwd')
    assert 'uploaded here' in wrong(
        station.submit, 'pvtt', {**settings, 'target_image': (link,)},
        visitor)


@pytest.mark.parametrize('name', ('save_file', 'overwrite'))
def test_what_is_the_pages_own(station, visitor, name):
    assert wrong(station.submit, 't2v-tiny', {**CLIP, name: 'x'}, visitor) \
        == f'{name} is not to be given here.'


@pytest.mark.parametrize('name', ('', '..', '../' + 29 * 'a', 32 * 'A', None))
def test_no_such_visitor(station, name):
    assert wrong(station.folder, name) == 'This visitor is not known here.'


def test_nothing_of_a_job_is_left(station, visitor):
    tickets = [station.submit('t2v-tiny', CLIP, visitor) for _ in range(2)]
    for ticket in tickets:
        done(station, ticket, visitor)
    until(lambda: station.works._running is None)
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is Job]


def test_history_and_queue_are_bounded(station, visitor, monkeypatch):
    monkeypatch.setattr(works, 'HISTORY', 1)
    tickets = []
    for _ in range(3):
        tickets.append(station.submit('t2v-tiny', CLIP, visitor))
        done(station, tickets[-1], visitor)
    assert station.tickets(visitor) == tickets[1:]
    monkeypatch.setattr(works, 'MAX_WAITING', 0)
    assert wrong(station.submit, 't2v-tiny', CLIP, visitor) == \
        '0 of your jobs wait already, at most 0 may.'


def test_close(tmp_path, gate):
    station = Station(tmp_path)
    visitor = station.new_visitor()
    running, waiting = (
        station.submit('t2v-tiny', CLIP, visitor) for _ in range(2))
    until(lambda: station.state(running, visitor).stage == 'edit')
    station.close()
    for ticket in (running, waiting):
        assert station.state(ticket, visitor).status == 'cancelled'
    assert wrong(station.submit, 't2v-tiny', CLIP, visitor) == \
        'The page is closed.'


def test_a_checkpoint_for_all(shell, tmp_path):
    r"""Its weights cannot be read: one sentence."""
    station = Station(tmp_path, shell)
    visitor = station.new_visitor()
    try:
        ticket = station.submit('t2v-1.3B', {
            'prompt': SOURCE, 'size': '832*480', 'frame_num': 1,
            'sample_steps': 1}, visitor)
        found = station.wait(ticket, visitor, 300)
    finally:
        station.close()
    assert found.status == 'failed' and 'log' not in found.files
    assert station.works.loaded.count == 0


def test_a_glimpse_now_and_then(tmp_path, monkeypatch):
    r"""Not at every step, and none once it has ended."""
    one = Errand('', '', 't2v-tiny', None, tmp_path)
    one.glimpse = Glimpse(torch.zeros(3, 16), torch.tensor([1., -1., 0.]))
    latent = torch.zeros(16, 2, 4, 5)
    for i in range(3):
        one._hear(Step('edit', i + 1, 3, 1., latent))
        picture = one.state_at(0).glimpse
        if i == 0:
            first = picture
    assert picture is first and picture.size == (40, 32)
    assert picture.getpixel((9, 9)) == (255, 0, 128)
    monkeypatch.setattr(errand, 'EACH', 0)
    one._hear(Step('edit', 3, 3, 0., latent))
    assert one.state_at(0).glimpse is not first
    one.fail(RuntimeError())
    assert one.state_at(0).glimpse is None


def test_ended():
    assert [State(status).ended for status in (
        'waiting', 'running', 'done', 'failed', 'cancelled')] == \
        [False, False, True, True, True]
