r"""Tables of products, and what becomes of a catalogue."""
import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import run_experiments
from tests.experiments.test_batch import (  # noqa: F401, fixtures
    Page,
    material,
    runs,
    statuses,
    table,
)
from tests.utils.media import make_clip
from wan import jobs
from wan.experiments.batch import grouped
from wan.experiments.experiment import Experiment
from wan.experiments.products import read_products, target_prompt
from wan.experiments.report import write_report
from wan.experiments.sweep import grid
from wan.jobs.edit_together import fitting, memory
from wan.jobs.memory import Memory
from wan.tasks import TASKS

ROW = TASKS['pvtt']


@pytest.fixture
def place(material, tmp_path, monkeypatch):  # noqa: F811
    r"""A working directory with a template and photos elsewhere."""
    shutil.copytree(material, tmp_path, dirs_exist_ok=True)
    (tmp_path / 'shop').mkdir()
    for name, colour in (('a', 'red'), ('b', 'green'), ('c', 'red')):
        Image.new('RGB', (64, 64), colour).save(tmp_path / f'shop/{name}.png')
    (tmp_path / 'template').mkdir()
    (tmp_path / 'template/template.yaml').write_text("""
video: {src_video: ../clip.mp4, source_prompt: a blue bag, source_blend: bag}
flowalign: {sample_steps: 2}
""")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def products(place, text, encoding='utf-8'):
    path = place / 'shop/products.csv'
    path.write_bytes(text.encode(encoding))
    return read_products(path, ROW)


def catalogue(place, text, *more):
    (place / 'shop/products.csv').write_text(text)
    return run_experiments.main([
        '--template', 'template', '--products', 'shop/products.csv',
        '--ckpt_dir', 'checkpoint', '--out', 'out', '--device', 'cpu',
        '--dtype', 'float32', *more])


HEAD = 'image,target_prompt\n'


@pytest.mark.parametrize('encoding', ('utf-8', 'utf-8-sig'))
@pytest.mark.parametrize('separator', (',', ';', '\t'))
@pytest.mark.parametrize('end', ('\n', '\r\n'))
def test_a_table_is_read_as_spreadsheets_write_it(
        place, encoding, separator, end):
    lines = (
        ('Image', 'Target Prompt', 'sample_steps', '', ''),
        ('a.png', '"a gold bag, ""new"", é;\tx"', '3', '', ''),
        ('', '', '', '', ''),
        ('b.png', ' two   words\xa0here ', '', '', ''))
    found = products(place, end.join(map(separator.join, lines)), encoding)
    assert [dict(product.settings) for product in found] == [
        {'target_image': (str(place / 'shop/a.png'),),
         'target_prompt': 'a gold bag, "new", é; x', 'sample_steps': '3'},
        {'target_image': (str(place / 'shop/b.png'),),
         'target_prompt': 'two words here'}]
    assert [product.line for product in found] == [2, 4]
    assert [product.label for product in found] == ['a', 'b']
    assert not any(product.problem for product in found)


def test_a_separator_may_be_named(place):
    one, = products(place, 'sep=|\r\nimage|seed\r\na.png|3\r\n')
    assert one.line == 3
    assert one.settings['base_seed'] == '3'


def test_cells_are_text_whatever_they_look_like(place):
    one, = products(place, 'name,attributes,mask\n=cmd|x!A0,@SUM(1),m.png\n')
    assert one.phrase == '@SUM(1) =cmd|x!A0'
    assert one.label == 'sum-1-cmd-x-a0'
    assert one.settings == {'target_mask': (str(place / 'shop/m.png'),)}


def test_cells_with_line_breaks_keep_their_lines(place):
    first, second = products(
        place, HEAD + 'a.png,"a\nbag"\nb.png,b\n')
    assert first.settings['target_prompt'] == 'a bag'
    assert (first.line, second.line) == (2, 4)


@pytest.mark.parametrize(('text', 'told'), [
    ('', 'is empty'),
    ('\n;;\n', 'is empty'),
    (HEAD, 'has no products'),
    ('imge,target_prompt\na,b', "unknown column 'imge'; did you mean 'image'"),
    ('image,sample_step\na,3', "did you mean 'sample_steps'"),
    ('image,ckpt_dir\na,b', "unknown column 'ckpt_dir'"),
    ('image,target_image\na,b', 'gives target_image in two columns'),
    ('seed,base_seed\n1,2', 'gives base_seed in two columns'),
    (HEAD + 'a,"b"c', 'Cannot read'),
    (HEAD + 'a,"b', 'Cannot read'),
    (HEAD + 'a,\0', 'a byte that is 0'),
    (HEAD + 'x' * 200_000, 'Cannot read'),
    (HEAD + 'x,y\n' * 10_001, 'at most 10000'),
    (HEAD + '#' * 2**22, 'at most 4194304'),
    (','.join(f'a{i}' for i in range(300)) + '\n1', 'at most 200'),
])
def test_a_bad_table_is_refused_in_a_sentence(place, text, told):
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        products(place, text)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize('encoding', ('latin-1', 'utf-16'))
def test_another_encoding_is_refused(place, encoding):
    with pytest.raises(ValueError, match='CSV UTF-8'):
        products(place, HEAD + 'a.png,é\n', encoding)


def test_what_is_no_file_is_refused(place):
    with pytest.raises(ValueError, match='none.csv is not there'):
        read_products(place / 'none.csv', ROW)
    with pytest.raises(ValueError, match='is a folder'):
        read_products(place, ROW)


@pytest.mark.parametrize(('prompt', 'blend', 'words', 'expected'), [
    ('a red bag on a table', 'red bag', ('cup', 'gold'),
     'a gold cup on a table'),
    ('a red bag on a table', 'red bag', ('clock', 'old'),
     'an old clock on a table'),
    ('An old  clock turns', 'old clock', ('cup', ''), 'A cup turns'),
    ('the bag and a bag', 'BAG', ('egg', ''), 'the egg and an egg'),
    ('a bagpipe, a bag', 'bag', ('cup', ''), 'a bagpipe, a cup'),
    ('a bag', 'bag', (r'\1 cup', ''), r'a \1 cup'),
])
def test_a_prompt_is_made_of_words(prompt, blend, words, expected):
    assert target_prompt(prompt, blend, dict(zip(
        ('name', 'attributes'), words, strict=True))) == expected


@pytest.mark.parametrize(('blend', 'words', 'told'), [
    ('', {'name': 'cup'}, 'source_blend is missing'),
    ('hat', {'name': 'cup'}, "'hat' is not in source_prompt"),
    ('bag', {'attributes': 'red'}, 'attributes need a name'),
    ('bag', {}, 'target_prompt is missing, or a name'),
])
def test_words_that_make_no_prompt_are_told(blend, words, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        target_prompt('a bag', blend, words)


def test_products_of_one_name_are_told(place):
    found = products(place, 'image,name\na.png,Cup\nb.png,cup\n')
    with pytest.raises(ValueError, match='line 2 and .*line 3 would both be '
                       "named 'cup'"):
        grid(found, {}, lambda product: product.label)


# The whole of it

TABLE = """image,name,attributes,sample_steps,target_prompt
a.png,cup,old,,
b.png,watch,,3,a fine watch
no.png,hat,,,
a.png,,red,,
b.png,two,,,x,too much
"""


def test_a_catalogue_is_made(place, runs):  # noqa: F811
    assert catalogue(place, TABLE) == 1
    assert runs == ['load', 'old-cup', 'watch']
    rows = table(place)
    assert [(name, row['status']) for name, row in rows.items()] == [
        ('old-cup', 'done'), ('watch', 'done'), ('hat', 'failed'),
        ('red', 'failed'), ('two', 'failed')]
    assert rows['old-cup']['target_prompt'] == 'a blue old cup'
    assert rows['watch']['target_prompt'] == 'a fine watch'
    assert rows['watch']['sample_steps'] == '3'
    for name, told in (('hat', 'no.png'), ('red', 'line 5: attributes need'),
                       ('two', "line 6: 'too much' is in column 6")):
        assert told in rows[name]['error']
    page = (place / 'out/index.html').read_text()
    assert '<title>Catalogue' in page
    assert page.count('<figcaption>template') == 2  # where it is known
    assert '<video src="old-cup/result.mp4"' in page

    runs.clear()
    (place / 'template/latent.safetensors').write_text('made anew')
    assert catalogue(place, TABLE) == 1
    assert runs == []  # finished before
    assert catalogue(place, TABLE.replace('old', 'new'), '--sweep',
                     'ref_c=0,0.1') == 1
    assert [name for name in runs if 'new-cup' in name] == [
        'new-cup__ref_c=0', 'new-cup__ref_c=0.1']


def test_a_change_of_the_template_makes_all_again(place, runs):  # noqa: F811
    text = HEAD + 'a.png,a\nb.png,b\n'
    assert catalogue(place, text) == 0
    runs.clear()
    path = place / 'template/template.yaml'
    path.write_text(path.read_text().replace('blue', 'grey'))
    assert catalogue(place, text) == 0
    assert runs == ['load', 'a', 'b']


def test_a_result_ends_as_its_codec_needs(place, runs):  # noqa: F811
    assert catalogue(place, 'image,target_prompt,codec\na.png,a,prores\n'
                     'b.png,b,\n') == 0
    assert (place / 'out/a/result.mov').exists()
    assert (place / 'out/b/result.mp4').exists()
    assert '<video src="a/result.mov"' in (
        place / 'out/index.html').read_text()
    runs.clear()
    assert catalogue(place, 'image,target_prompt,codec\na.png,a,prores\n'
                     'b.png,b,\n') == 0
    assert runs == []


@pytest.mark.parametrize(('argv', 'told'), [
    ([], 'Experiment files are needed, or --products'),
    (['a.yaml', '--products', 'p.csv'], 'one of them'),
    (['--products', 'p.csv'], 'p.csv is not there'),
])
def test_a_bad_command_writes_nothing(place, runs, capsys, argv, told):  # noqa: F811
    assert run_experiments.main([*argv, '--out', 'out']) == 2
    assert told in capsys.readouterr().err
    assert not (place / 'out').exists()


def test_the_page_of_a_catalogue_stands_alone(place):
    evil = '<i>&"\'</i><svg onload=x>{0}'
    make_clip(place / 'c&l"ip.mp4', source='testsrc=s=64x64:r=16:d=0.3')
    one = Experiment(
        place / 'out/a&b#%', 'pvtt', status='done', product=True, seconds=1.,
        settings={'src_video': str(place / 'c&l"ip.mp4'),
                  'target_image': (str(place / 'shop/a.png'), evil),
                  'target_prompt': evil},
        metrics={'share': 0.25, 'psnr_outside': 52.04, 'ssim_outside': 'inf',
                 'photo_effect': 0.1}, notes=(evil,))
    two = Experiment(place / "out/<i>'", 'pvtt', status='failed', error=evil,
                     product=True, settings={})
    one.folder.mkdir(parents=True)
    shutil.copy(place / 'c&l"ip.mp4', one.folder / 'result.mp4')
    (one.folder / 'result.json').write_text('{}')
    three = replace(one, folder=place / 'out/c', notes=(evil, 'of one'))
    write_report([one, two, three], place / 'out')
    text = (place / 'out/index.html').read_text()
    page = Page(text)
    assert not page.tags & {'i', 'svg'}
    assert page.addresses.count('a%26b%23%25/result.mp4') == 2
    assert not [a for a in page.addresses if re.match('http|//|/', a)]
    # template and photo twice, and a poster
    assert text.count('data:image/webp') == 5
    assert text.count('class="note"') == 2  # what all share stands once
    assert text.index('class="note"') < text.index('<section')
    assert re.search(
        r'<video [^>]*poster="data:[^>]* muted loop controls', text)
    assert ('25.0% of the picture may have changed, the rest at 52.0 dB, '
            'another photo changes 10.0%') in text


def test_no_cell_of_the_results_is_a_formula(place):
    one = Experiment(place / 'out/a', 'pvtt', settings={
        'target_prompt': '=HYPERLINK("x")', 'ref_c': (-0.1, 0.2)})
    two = Experiment(place / 'out/b', 'pvtt', settings={
        'target_prompt': '@x', 'ref_c': (0.1, 0.2)})
    write_report([one, two], place / 'out')
    with open(place / 'out/results.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['target_prompt'] for row in rows] == [
        "'=HYPERLINK(\"x\")", "'@x"]
    assert [row['ref_c'] for row in rows] == ['-0.1,0.2', '0.1,0.2']


def test_a_record_tells_of_background_and_photo(tmp_path):
    from wan.jobs.origin import write_record
    (tmp_path / 'result.mp4').touch()
    write_record(tmp_path / 'result.json', {
        'arguments': {'experiment_key': 'k'}, 'seconds': {'edit': 2.0},
        'results': {'changed': {'share': 0.2, 'psnr_outside': 50.0},
                    'photo_effect': 0.1, 'notes': ['a note']}})
    one = Experiment(tmp_path, 'pvtt')
    assert one.recall('k')
    assert one.metrics == {
        'share': 0.2, 'psnr_outside': 50.0, 'photo_effect': 0.1}
    assert one.notes == ('a note',)
    assert json.loads((tmp_path / 'result.json').read_text())['files']


THREE = HEAD + 'a.png,a red bag\nb.png,a green bag\nc.png,a red ball\n'


def result_files(place):
    return {path.parent.name: json.loads(path.read_text())
            for path in (place / 'out').glob('*/result.json')}


def test_products_at_once(place, caplog):
    r"""Two share their template, as their records say; all are done."""
    caplog.set_level('INFO')
    assert not catalogue(place, THREE, '--products_at_once', '2')
    records = result_files(place)
    assert sorted(
        record['results'].get('products_at_once', 1)
        for record in records.values()) == [1, 2, 2]
    assert 'Experiment 1 of 3: a, b' in caplog.text
    assert not catalogue(place, THREE, '--products_at_once', 'auto')
    assert result_files(place) == records  # none is run again


def test_one_of_several_that_fails_leaves_the_others(place, monkeypatch):
    make = jobs.running.save

    def full(job, *more):
        if job.record_file.parent.name == 'b':
            raise OSError('the disk is full')
        return make(job, *more)

    monkeypatch.setattr(jobs.running, 'save', full)
    assert catalogue(place, THREE, '--products_at_once', '8') == 1
    assert len(result_files(place)) == 2
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert not catalogue(place, THREE, '--products_at_once', '8')
    assert len(result_files(place)) == 3


def test_what_cannot_run_together_says_so(place, caplog):
    assert not catalogue(place, THREE, '--products_at_once', '8',
                         '--edit_method', 'sdedit')
    assert 'a runs alone: several products at once are for' in caplog.text


@pytest.mark.parametrize('more, message', [
    (('0',), "products_at_once is '0', allowed: auto, or a number from 1"),
    (('2', '--workers', '2'), 'products_at_once 2 needs workers 1')])
def test_a_bad_number_of_products(place, capsys, more, message):
    assert catalogue(place, THREE, '--products_at_once', *more) == 2
    assert message in capsys.readouterr().err


def waits(alike, fitting=1):
    return Experiment(Path('x'), 'pvtt', alike=alike, fitting=fitting)


@pytest.mark.parametrize('at_once, sizes', [
    (1, [1, 1, 1, 1, 1]), (2, [2, 1, 1, 1]), (8, [3, 1, 1]),
    (None, [2, 1, 1, 1])])
def test_groups(at_once, sizes):
    waiting = [waits('t', 2), waits(None), waits('t', 2), waits('t', 2),
               waits(None)]
    assert [len(group) for group in grouped(waiting, at_once)] == sizes


def test_more_products_take_more_memory(place):
    job = jobs.prepare(TASKS, 'pvtt', {
        'template': 'template', 'target_image': ('shop/a.png',),
        'target_prompt': 'a red bag', 'ckpt_dir': 'checkpoint',
        'device': 'cpu', 'dtype': 'float32', 'base_seed': 0})
    peaks = [memory(job, count).sampling for count in (1, 2, 3)]
    assert peaks[0] == Memory(job).sampling
    assert peaks[1] - peaks[0] == peaks[2] - peaks[1] > 0
    assert 1 <= fitting(job) <= 8
