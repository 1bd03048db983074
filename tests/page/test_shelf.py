r"""A catalogue: what is on the disk is all that it is."""
import json
import os
import subprocess
import sys
import textwrap

import pytest

from tests.page.edits import PHOTOS, QUICK, ROOT, until, uploaded
from wan.page import works
from wan.page.shelf import NO_PROMPT, Shelf, Shelves
from wan.page.station import Station

BLEND = {'source_blend': 'striped red and white heart'}
PROMPTS = ('a blue disc on a brown wooden table.',
           'a green ring on a brown wooden table.')


@pytest.fixture
def station(tmp_path):
    station = Station(tmp_path / 'page')
    yield station
    station.close()


@pytest.fixture
def visitor(station):
    return station.new_visitor()


@pytest.fixture
def still(monkeypatch):
    r"""Jobs are checked, and not begun."""
    monkeypatch.setattr(works.Works, 'put', lambda *args, **more: 'ticket')
    monkeypatch.setattr(works.Works, 'cancel', lambda *args: None)
    monkeypatch.setattr(
        works.Works, 'state', lambda *args: works.State('waiting', 1))


def settings(station, visitor):
    given = uploaded(station, visitor)
    return {**given, **BLEND}


def photos(station, visitor):
    return [station.accept(path, 'image', visitor) for path in PHOTOS]


def table(tmp_path, *lines):
    path = tmp_path / 'products.csv'
    path.write_text('\n'.join(lines))
    return path


def shown(shelf):
    return [(row.name, row.status) for row in shelf.rows()]


def file_of(shelf):
    return shelf._all.folder / 'catalogue.json'


def ended(shelf):
    return all(row.status in ('done', 'failed') for row in shelf.rows())


def test_three_products_one_bad(station, visitor, tmp_path):
    r"""And what was finished is not made again."""
    shelf = Shelves(station).of(visitor)
    assert shelf.template is None and shelf.rows() == []
    names = shelf.add_table(station.accept(table(
        tmp_path, 'image,name,target_prompt',
        f'product.png,,{PROMPTS[0]}', 'absent.png,disc,',
        'product_3.png,gold ring,'), 'table', visitor),
        photos(station, visitor))
    assert names == ['001-2-product', '001-3-disc', '001-4-gold-ring']
    shelf.prepare(settings(station, visitor))
    until(lambda: ended(shelf))

    assert {'result', 'preview', 'mask'} <= {*shelf.template.files}
    first, second, third = shelf.rows()
    assert first.prompt == PROMPTS[0] and first.photo.name == 'product.png'
    assert third.prompt == 'a gold ring on a brown wooden table.'
    for row in (first, third):
        assert row.status == 'done' and row.files['result'].is_file()
    assert second.status == 'failed' and second.photo is None
    assert second.error == "target_image must be a file that was uploaded " \
        "here, not 'absent.png'."

    made = first.files['result'].stat().st_mtime_ns
    # As if the server had been killed before it could note the end.
    content = json.loads(file_of(shelf).read_text())
    for row in content['rows']:
        row['status'] = 'waiting'
    file_of(shelf).write_text(json.dumps(content))
    other = Station(station.root)
    try:
        again = Shelves(other).of(visitor)
        until(lambda: ended(again))
        assert [row.status for row in again.rows()] == [
            'done', 'failed', 'done']
        assert again.rows()[0].files['result'].stat().st_mtime_ns == made
        assert other.works.loaded.count == 0
    finally:
        other.close()


CHILD = """
    import os, sys
    from pathlib import Path
    from tests.page.edits import PHOTOS, uploaded
    from wan.page.shelf import Shelves
    from wan.page.station import Station
    from wan.utils.progress import Progress

    tell, edits = Progress._tell, []

    def killed(self, step):
        edits.extend([1] * (step.stage == 'edit' and step.done == 1))
        if len(edits) == 2:
            os.kill(os.getpid(), 9)
        tell(self, step)

    Progress._tell = killed
    station = Station(sys.argv[1])
    shelf = Shelves(station).of(sys.argv[2])
    shelf.add_photos(
        [station.accept(path, 'image', sys.argv[2]) for path in PHOTOS[:2]],
        'a blue disc on a brown wooden table.')
    shelf.prepare(uploaded(station, sys.argv[2]))
    station.works._thread.join()
"""


def test_killed_in_the_middle(station, visitor):
    r"""Another server, later, goes on by itself."""
    station.close()
    killed = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(CHILD), station.root, visitor],
        cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=300,
        capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    later = Station(station.root)
    try:
        shelf = Shelves(later).of(visitor)
        assert [row.status for row in shelf.rows()][0] == 'done'
        until(lambda: ended(shelf))
        assert [row.status for row in shelf.rows()] == ['done', 'done']
        assert not list(shelf._all.folder.glob('**/.wan-*'))
    finally:
        later.close()


def test_bad_settings_change_nothing(station, visitor, still):
    shelf = Shelf(station, visitor)
    given = {**settings(station, visitor), 'source_prompt': ''}
    with pytest.raises(ValueError, match='^source_prompt is missing.$'):
        shelf.prepare(given)
    assert shelf.template is None and not file_of(shelf).exists()


def test_what_the_template_takes(station, visitor, still):
    r"""Nothing of a product, but the words that help to find the old one."""
    shelf = Shelf(station, visitor)
    shelf.prepare({**settings(station, visitor), 'base_seed': 5})
    kept = json.loads(file_of(shelf).read_text())['settings']
    assert kept['target_prompt'] == QUICK['target_prompt']
    assert kept['base_seed'] == 5 and 'target_image' not in kept
    assert shelf.template.status == 'waiting'


def test_a_row_waits_for_its_prompt(station, visitor, still):
    shelf = Shelf(station, visitor)
    name, = shelf.add_photos(photos(station, visitor)[:1])
    assert shelf.rows()[0].error == NO_PROMPT
    shelf.change(name, f' {PROMPTS[1]}\n')
    row, = shelf.rows()
    assert (row.prompt, row.error) == (PROMPTS[1], '')
    assert Shelf(station, visitor).rows() == [row]


def test_two_photos_of_one_name(station, visitor, still, tmp_path):
    first = photos(station, visitor)[0]
    (tmp_path / 'other').mkdir()
    other = tmp_path / 'other' / first.name
    other.write_bytes(PHOTOS[1].read_bytes())
    shelf = Shelf(station, visitor)
    shelf.add_photos([first, station.accept(other, 'image', visitor)], 'a')
    one, two = (row.photo.read_bytes() for row in shelf.rows())
    assert one == PHOTOS[0].read_bytes() and two == PHOTOS[1].read_bytes()


def test_retry_remove_pause(station, visitor, still):
    shelf = Shelf(station, visitor)
    first, second = shelf.add_photos(photos(station, visitor)[:2], PROMPTS[0])
    shelf._all.update(first, status='failed', error='it burnt')
    shelf._all.update(second, status='done')
    for name in (first, second):
        shelf.retry(name)
    assert shown(shelf) == [(first, 'waiting'), (second, 'done')]
    assert shelf.rows()[0].error == ''
    shelf.remove(first)
    shelf.pause()
    again = Shelf(station, visitor)
    assert shown(again) == [(second, 'done')] and again.paused
    again.resume()
    assert not Shelf(station, visitor).paused
    for call in (shelf.remove, shelf.retry):
        with pytest.raises(ValueError, match="^There is no row '001-2-"):
            call(first)


def test_a_row_that_is_removed_while_it_runs(station, visitor):
    shelf = Shelf(station, visitor)
    shelf.prepare({**settings(station, visitor), 'sample_steps': 50})
    first, second = shelf.add_photos(photos(station, visitor)[:2], PROMPTS[0])
    until(lambda: shelf.rows()[0].status == 'running')
    shelf.pause()
    shelf.remove(first)
    until(lambda: station.works._running is None)
    assert shown(shelf) == [(second, 'waiting')]


def test_a_table_that_cannot_be_read(station, visitor, tmp_path, still):
    shelf = Shelf(station, visitor)
    path = station.accept(table(tmp_path, 'imag,name', 'a,b'), 'table',
                          visitor)
    with pytest.raises(ValueError) as caught:
        shelf.add_table(path)
    assert str(caught.value) == \
        "products.csv: unknown column 'imag'; did you mean 'image'?"
    assert list((shelf._all.folder / 'tables').iterdir()) == []


def test_nothing_of_the_machine_is_shown(station, visitor, tmp_path, still):
    shelf = Shelf(station, visitor)
    shelf.add_table(station.accept(table(
        tmp_path, 'image,name', '/etc/hostname,disc', '../../../x,disc'),
        'table', visitor))
    assert [row.photo for row in shelf.rows()] == [None, None]


def test_a_broken_catalogue_stops_no_server(station, visitor):
    shelf = Shelf(station, visitor)
    shelf.pause()
    file_of(shelf).write_text('{"rows": 1}')
    shelves = Shelves(station)
    with pytest.raises(ValueError, match='is no catalogue'):
        shelves.of(visitor)
    assert shelves.of(station.new_visitor()).rows() == []
