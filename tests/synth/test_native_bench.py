r"""Rows on native pairs: what they leave alone, and which way is better."""
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wan.jobs.checkpoint import embedded_checkpoint
from wan.synth import TUNE_SEEDS
from wan.synth.bench import __main__ as command
from wan.synth.bench import run as running
from wan.synth.bench.costs import select
from wan.synth.bench.measures import product_error
from wan.synth.bench.native_edit import NativeEditor
from wan.synth.bench.native_measures import iou, seam
from wan.synth.bench.native_report import write_native_table
from wan.synth.bench.native_rows import (
    AGAIN,
    CEILING,
    COPY,
    FOUND,
    GIVEN,
    NATIVE,
    NATIVE_SETS,
    PASTE,
    VARIED,
    WHOLE,
    NativeRow,
)
from wan.synth.bench.pairs import make_native_pair
from wan.synth.bench.run import run
from wan.synth.bench.store import Setup

ROOT = Path(__file__).parents[2]
# A small product of the same shape: what is won is sharpness alone.
PAIR = 5


def short(row):
    return replace(row, edit=replace(row.edit, sample_steps=8))


@pytest.fixture(scope='module')
def editor():
    pipe = running._pipeline(Path(embedded_checkpoint()))
    return NativeEditor(
        lambda: pipe, make_native_pair(PAIR, TUNE_SEEDS, 288, 6))


def test_a_window_shows_a_small_product_better(editor):
    errors = {}
    for row in (short(WHOLE), short(GIVEN)):
        video = editor.run(row, 'right')
        assert video.shape == editor.source.shape
        errors[row.name] = product_error(
            video, editor.truth, editor.answer.new)
    assert errors[GIVEN.name] < 0.9 * errors[WHOLE.name]


def test_far_from_the_product_the_frames_are_the_templates(editor):
    values = editor.measure(GIVEN, editor.run(short(GIVEN), 'right'))
    view = editor.view(GIVEN)
    assert view.share < 0.5 and values['window'] == view.share
    assert 0 < values['touched'] < view.share
    assert values['background_psnr'] > 35
    left, top = view.corners[0]
    outside = torch.ones(editor.frame[::-1], dtype=torch.bool)
    outside[top:top + view.box[1], left:left + view.box[0]] = False
    video = editor.run(short(GIVEN), 'right')
    assert torch.equal(video[:, 0, outside], editor.source[:, 0, outside])


def test_a_small_product_is_found(editor):
    found = editor.measure(FOUND, editor.source)
    assert found['found_iou'] > 0.8 and found['touched'] == 0
    assert editor.measure(AGAIN, editor.source)['found_iou'] > 0.8
    assert editor.measure(GIVEN, editor.source)['found_iou'] == 1


def test_bounds_are_bounds(editor):
    paste, whole, window = (
        editor.run(row, 'right') for row in (
            PASTE, CEILING, replace(CEILING, sight='window')))
    errors = [product_error(video, editor.truth, editor.answer.new)
              for video in (whole, window)]
    assert errors[1] < errors[0] < 0.2
    assert (paste == editor.source).float().mean() > 0.8


def test_iou():
    one, two = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    assert iou(one, two) == 1
    one[:, :2], two[:, 1:3] = 1, 1
    assert iou(one, two) == pytest.approx(1 / 3)


def test_a_seam_is_what_changes_where_windows_meet():
    truth, mask = torch.zeros(3, 41, 8, 8), torch.ones(41, 8, 8)
    noisy = truth + torch.rand(
        1, 41, 1, 1, generator=torch.Generator().manual_seed(0))
    jump = noisy.clone()
    # The second window starts at latent frame 3, which is frames 9 to 12.
    jump[:, 13:] += 5
    assert seam(jump, truth, mask) > 3 * seam(noisy, truth, mask)
    within = noisy.clone()
    within[:, 5:] += 5  # from latent frame 1 to 2, inside the first window
    assert seam(within, truth, mask) < seam(noisy, truth, mask)
    assert seam(noisy[:, :17], truth[:, :17], mask[:17]) == 1


def test_native_rows_are_named():
    assert select('main', NATIVE_SETS) == NATIVE
    assert select('context', NATIVE_SETS)[0] in VARIED
    names = [row.name for row in NATIVE + VARIED]
    assert len(set(names)) == len(names)
    with pytest.raises(ValueError, match='allowed: main'):
        select('flowedit', NATIVE_SETS)
    other = NativeRow('other', '', context=1.9)
    assert other.key() != NativeRow('other', '').key()


def test_the_command_reports_by_size(tmp_path, checkpoint):
    argv = ['--native', 'native_copy,native_paste', '--pairs', '3',
            '--seeds', 'tune', '--frames', '5', '--workers', '1',
            '--ckpt_dir', str(checkpoint), '--work', str(tmp_path / 'work'),
            '--out', str(tmp_path)]
    args, rows, pairs, setup = command.prepare(argv)
    assert rows == (COPY, PASTE) and pairs == 3 and setup.judge is None
    setup = replace(setup, size=72)
    results = run(rows, setup, pairs)
    table = tmp_path / 'table.md'
    write_native_table(table, rows, results, setup, pairs)
    text = table.read_text()
    assert 'All products (3 pairs)' in text and 'native_paste' in text
    errors = [results[row.name][0, row.photos[0]]['product_error']
              for row in rows]
    assert errors[1] < errors[0]
    assert results['native_copy'][0, 'none']['background_psnr'] == 100


@pytest.mark.parametrize('frames', ['4', '0', '85'])
def test_lengths_that_do_not_fit(frames, tmp_path, checkpoint):
    with pytest.raises(ValueError, match=f'--frames is {frames}'):
        command.prepare(['--native', '--frames', frames, '--ckpt_dir',
                         str(checkpoint), '--out', str(tmp_path)])


def test_facts_tell_native_from_square(tmp_path, checkpoint):
    square, native = (Setup(checkpoint, tmp_path, world=world)
                      for world in ('flat', 'native'))
    assert square.facts['sources'] != native.facts['sources']
    assert square.pair(1) != native.pair(1)


def test_the_page_has_the_tables_numbers():
    quality = ROOT / 'docs' / 'quality'
    tables, title = {}, ''
    for line in (quality / 'native' / 'table.md').read_text().splitlines():
        title = line[3:].split(' (')[0] if line.startswith('## ') else title
        if line.startswith('| `'):
            cells = [cell.strip() for cell in line.split('|')[2:-1]]
            tables[title, cells[0]] = [cell.split(' ')[0] for cell in cells]
    page = (quality / 'README.md').read_text()
    part = page.split('## Native size')[1].split('\n## ')[0]
    shown = [[cell.strip() for cell in line.split('|')[1:-1]]
             for line in part.splitlines() if line.startswith('| ')][2:]
    assert len(shown) > 4
    for method, small, large, background, touched in shown:
        one, two, both = (tables[title, method] for title in (
            'Products of less than 1/8 of the frame',
            'Products of 1/8 of the frame or more', 'All products'))
        assert [small, large, background, touched] == [
            one[1], two[1], both[2], both[3]]
