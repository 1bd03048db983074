r"""The benchmark's machinery, with random weights and small clips."""
import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wan.edit_config import PRESETS, EditConfig
from wan.product.filters import dilate
from wan.product.photo import Product
from wan.refdrop.bank import capture
from wan.refdrop.config import RefConfig
from wan.sparse import DENSE
from wan.step_cache import NO_CACHE
from wan.synth import captions, visible_mask
from wan.synth.bench import __main__ as command
from wan.synth.bench import cached_sampling, plots
from wan.synth.bench import run as running
from wan.synth.bench.attempt import AttemptSlots
from wan.synth.bench.costs import COSTS, select
from wan.synth.bench.edit import PairEditor
from wan.synth.bench.pairs import make_pair
from wan.synth.bench.report import CONTROL, Score, score, write_csv, write_table
from wan.synth.bench.rows import (
    ABLATIONS,
    BEST,
    FULL,
    GRID,
    HIDDEN,
    MAIN,
    PLAIN,
    QUICK,
    Row,
    unmasked,
)
from wan.synth.bench.run import run
from wan.synth.bench.stats import Interval
from wan.synth.bench.store import (
    CONFIG,
    RUNTIME,
    SHOWN_FRAMES,
    Setup,
    read_results,
    read_strip,
    strip,
)
from wan.synth.bench.worlds import WORLDS
from wan.synth.judge import Judge
from wan.utils.progress import Progress

SIZE, FRAMES = 64, 5
COPY = MAIN[0]


def short(row, **changes):
    return replace(row, edit=replace(
        row.edit, sample_steps=3, sample_guide_scale=5.), **changes)


@pytest.fixture
def setup(checkpoint, tmp_path):
    return Setup(checkpoint, tmp_path / 'work', 'tune', SIZE, FRAMES)


@pytest.fixture(scope='module')
def editor(checkpoint):
    pair = make_pair(1, range(7, 9), SIZE, FRAMES)
    return PairEditor(lambda: running._pipeline(checkpoint), pair)


@pytest.fixture
def edits(monkeypatch):
    r"""The (row, photo) of every edit that is really run."""
    ran, plain = [], PairEditor.run

    def spy(self, row, photo):
        ran.append((row.name, photo))
        return plain(self, row, photo)

    monkeypatch.setattr(PairEditor, 'run', spy)
    return ran


def looks(product):
    return {product.pattern, *product.colours}


def test_pairs_differ_where_they_should():
    pairs = [make_pair(number) for number in range(40)]
    assert pairs[3] == make_pair(3) and len({p.seed for p in pairs}) == 40
    for number, pair in enumerate(pairs):
        old, new = pair.clip.product, pair.product
        assert (old.shape == new.shape) == (number % 2 == 1)
        assert pair.wrong.shape == new.shape
        assert not looks(old) & looks(new)
        assert not looks(pair.wrong) & (looks(new) | looks(old))
        assert pair.truth == replace(pair.clip, product=new)
        source, target = pair.prompts('hidden')
        assert source == captions.full_caption(pair.clip)
        assert not looks(new) & set(captions.words(target))
        assert looks(new) <= set(captions.words(pair.prompts('full')[1]))
        for prompt, word in zip((source, target), pair.words, strict=True):
            assert word in captions.words(prompt)
    right, wrong = (pairs[0].photo(which) for which in ('right', 'wrong'))
    assert right.mode == 'RGBA' and right.size == (128, 128)
    assert right.getchannel('A') == wrong.getchannel('A')
    assert right.tobytes() != wrong.tobytes()


def test_rows_can_be_named():
    assert len({row.name for row in GRID}) == len(GRID)
    assert not any(',' in row.name for row in GRID)
    assert select('main') == MAIN and select('grid') == GRID
    assert select('best, c') == (BEST, *ABLATIONS['c'])
    assert {row.name for row in QUICK} <= {row.name for row in MAIN}
    with pytest.raises(ValueError, match='nothing'):
        select('copy,nothing')


def test_the_references_ablations_share_their_start():
    shared = set.intersection(*(
        {row.key() for row in rows} for axis, rows in ABLATIONS.items()
        if axis not in ('c_clean', 'c_found', 'c_collage', 'noised', 'gate',
                        'pull_alone', 'guidance', 'guidance_best', 'lit')))
    assert len(shared) == 1


def test_the_weight_is_varied_around_the_tasks_defaults():
    assert RefConfig() in {row.ref for row in ABLATIONS['c_collage']}
    assert {row.edit.collage_zeta_scale for row in ABLATIONS['c_collage']} \
        == {EditConfig().collage_zeta_scale}
    for axis, mask in (('c_clean', 'true'), ('c_found', 'velocity')):
        rows = ABLATIONS[axis]
        assert {row.mask for row in rows} == {mask}
        assert RefConfig() in {row.ref for row in rows}
        assert {row.edit.collage_zeta_scale for row in rows} == {0.}


def test_the_best_row_is_the_preset():
    for name, value in PRESETS['best'].items():
        assert getattr(BEST.ref, name, None) == value or getattr(
            BEST.edit, name, None) == value


def test_a_key_is_of_the_settings_alone():
    assert FULL.key() == replace(FULL, name='x', title='y').key()
    others = [
        replace(FULL, caption='hidden'), replace(FULL, mask='none'),
        replace(FULL, edit=replace(FULL.edit, strength=0.5)),
        replace(FULL, ref=RefConfig()), replace(FULL, kind='copy')]
    assert len({row.key() for row in (FULL, *others)}) == 6
    assert FULL.key(size=64) not in (FULL.key(), FULL.key(size=32))


@pytest.mark.parametrize('row', [
    HIDDEN, PLAIN, BEST, unmasked(PLAIN), *select('flowedit')],
    ids=['text', 'plain', 'best', 'unmasked', 'flowedit'])
def test_an_edit_is_the_pipelines_own(editor, row):
    row, pair = short(row), editor.pair
    source, target = pair.prompts(row.caption)
    products = [Product(pair.photo('right'))] if row.ref else []
    expected = editor.pipe.generate(
        editor.source, products, source, target, row.edit, row.ref,
        src_mask=visible_mask(pair.clip), use_mask=row.mask != 'none',
        seed=pair.seed).video
    photo = row.photos[0]
    assert torch.equal(editor.run(row, photo), expected)
    # And again, from memory.
    assert torch.equal(editor.run(row, photo), expected)


def test_the_source_is_evaluated_once(editor, monkeypatch):
    pair, asked = make_pair(0, range(8, 9), SIZE, FRAMES), []
    fresh = PairEditor(lambda: editor.pipe, pair)
    velocity = editor.pipe.velocity

    def spied(conditions, slots, batch):
        v = velocity(conditions, slots, batch)

        def spy(latents, t):
            asked.extend(slots is not None and slots.reads(name, t)
                         for name in latents)
            return v(latents, t)

        return spy

    monkeypatch.setattr(editor.pipe, 'velocity', spied)
    fresh.run(short(HIDDEN), 'none')
    # Two steps of q, ps and pt; in the first one ps still is q.
    assert asked == [False] * 5
    asked.clear()
    fresh.run(short(PLAIN), 'right')
    assert asked == [True] * 4
    asked.clear()
    # A weight of 0 is the text's edit, and all of it is remembered.
    nothing = short(PLAIN, ref=RefConfig(ref_c=(0.,)))
    assert torch.equal(fresh.run(nothing, 'right'),
                       fresh.run(short(HIDDEN), 'none'))
    assert asked == []


def test_the_attempt_takes_keys_before_their_norm(editor):
    pipe, scene = editor.pipe, editor.scenes['hidden']
    condition = pipe.conditions(scene)('target')
    photo = editor.products(PLAIN, 'right')[0].fitted((SIZE, SIZE))[0]
    slots = AttemptSlots.of(pipe, photo, condition, 0.5)
    assert all(slots.reads(name, 900.) for name in ('q', 'ps', 'pt'))
    mean, std = (v.view(-1, 1, 1, 1) for v in (pipe.vae.mean, pipe.vae.std))
    reference = capture(
        pipe.denoiser, pipe.encode_video(photo, Progress()) * std + mean,
        condition)
    for block, slot, normed, value in zip(
            pipe.model.blocks, slots([True], 900.), reference.keys,
            reference.values, strict=True):
        assert torch.equal(slot.value, value)
        assert not torch.allclose(slot.key.float(), normed.float())
        again = block.self_attn.norm_k(slot.key.flatten(2))
        assert torch.equal(again.view_as(normed).to(normed), normed)
    for attn in (block.self_attn for block in pipe.model.blocks):
        assert not attn.k._forward_hooks and not attn.v._forward_hooks


def test_the_attempt_reads_everywhere_and_depends_on_the_photo(editor):
    row = short(*select('attempt_c0.5'))
    right, wrong = (editor.run(row, photo) for photo in row.photos)
    assert not torch.equal(right, wrong)
    off = replace(row, ref=replace(row.ref, ref_c=(0.,)))
    text = replace(short(HIDDEN), edit=row.edit, mask='none')
    assert torch.equal(editor.run(off, 'right'), editor.run(text, 'none'))


def test_finished_edits_are_skipped(setup, edits):
    rows = [COPY, short(PLAIN)]
    first = run(rows, setup, 1)
    assert edits == [('copy', 'none'), ('refdrop', 'right'),
                     ('refdrop', 'wrong')]
    edits.clear()
    assert run(rows, setup, 1) == first and edits == []
    more = run(rows, setup, 2)
    assert len(edits) == 3
    assert {key: more['refdrop'][key] for key in first['refdrop']} \
        == first['refdrop']


def test_a_torn_line_and_a_lost_strip_are_done_again(setup, edits):
    row = short(PLAIN)
    first = run([row], setup, 1)
    file = setup.results_file(row)
    whole = file.read_text()
    file.write_text(whole[:-20])
    edits.clear()
    assert run([row], setup, 1) == first
    assert edits == [('refdrop', 'wrong')] and file.read_text() == whole
    edits.clear()
    setup.strip_file(row, 0, 'right').unlink()
    assert run([row], setup, 1) == first
    assert edits == [('refdrop', 'right')]


def test_other_settings_are_run_and_the_old_results_stay(setup, edits):
    rows = [short(HIDDEN)]
    first = run(rows, setup, 1)
    changed = [replace(rows[0], edit=replace(rows[0].edit, strength=0.4))]
    other = run(changed, setup, 1)
    assert other != first and len(edits) == 2
    assert run(rows, setup, 1) == first and len(edits) == 2
    # Other seeds, and the same settings by another name.
    run(rows, replace(setup, seeds='test'), 1)
    assert len(edits) == 3
    named = run([replace(rows[0], name='x')], setup, 1)
    assert named['x'] == first[rows[0].name] and len(edits) == 3


def test_another_checkpoint_is_another_result(setup, tmp_path):
    copy = shutil.copytree(setup.ckpt_dir, tmp_path / 'copy')
    same = replace(setup, ckpt_dir=Path(copy))
    assert same.results_file(HIDDEN) == setup.results_file(HIDDEN)
    file = next(Path(copy).glob('*.safetensors'))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    other = replace(setup, ckpt_dir=Path(copy))
    assert other.results_file(HIDDEN) != setup.results_file(HIDDEN)
    # What needs no model does not depend on one.
    assert other.results_file(COPY) == setup.results_file(COPY)


def test_a_strip_is_evenly_spaced_frames():
    clip = torch.rand(3, 9, 8, 12) * 2 - 1
    image = strip(clip)
    assert image.size == (SHOWN_FRAMES * 12, 8)
    shown = torch.tensor(list(image.tobytes())).view(8, 5, 12, 3)
    expected = (clip[:, ::2] + 1) * 127.5
    assert (shown.permute(3, 1, 0, 2) - expected).abs().max() <= 0.51


def test_a_strip_is_read_back(tmp_path):
    clip = torch.rand(3, SHOWN_FRAMES, 8, 8) * 2 - 1
    strip(clip).save(tmp_path / 'strip.png')
    assert torch.allclose(
        read_strip(tmp_path / 'strip.png'), clip, atol=1 / 127)


def test_results_that_are_not_there_are_none(tmp_path):
    assert read_results(tmp_path / 'no.jsonl') == {}


def test_the_control_is_wrong_minus_right(tmp_path, setup):
    def values(error):
        return {'product_error': error, 'background_psnr': 30.}

    results = {(0, 'right'): values(.2), (0, 'wrong'): values(.3),
               (1, 'right'): values(.1), (1, 'wrong'): values(.4)}
    found = score(PLAIN, results)
    assert found.right[CONTROL].mean == pytest.approx(.2)
    assert found.right['product_error'].mean == pytest.approx(.15)
    assert found.wrong['product_error'].mean == pytest.approx(.35)
    text = score(COPY, {(0, 'none'): values(.5)})
    write_table(tmp_path / 'table.md', [text, found], setup, 2)
    table = (tmp_path / 'table.md').read_text()
    assert '0.200 [0.100, 0.300]' in table
    assert '| 0.500 [0.500, 0.500] |  |' in table
    assert 'judge' not in table


def test_the_judge_adds_its_columns(setup, tmp_path):
    with torch.random.fork_rng():
        Judge().save(tmp_path / 'judge.safetensors')
    judged = replace(setup, size=128, judge=tmp_path / 'judge.safetensors')
    found = run([COPY], judged, 1)['copy'][0, 'none']
    read = {name: value for name, value in found.items() if 'judge_' in name}
    assert len(read) == 6 and set(read.values()) <= {0., 1.}
    plain = run([COPY], replace(judged, judge=None), 1)['copy'][0, 'none']
    assert plain == {k: v for k, v in found.items() if k not in read}


def test_a_diverged_edit_is_named(setup, monkeypatch):
    def fail(self, row, photo):
        raise FloatingPointError('step 3')

    monkeypatch.setattr(PairEditor, 'run', fail)
    with pytest.raises(FloatingPointError, match='refdrop, pair 0, right'):
        run([short(PLAIN)], setup, 1)


@pytest.fixture
def small(monkeypatch, tmp_path):
    r"""The command with small clips and no judge, which reads large ones."""
    monkeypatch.setitem(WORLDS, 'flat', WORLDS['flat']._replace(
        size=SIZE, frames=FRAMES, judge=tmp_path / 'no judge'))


def test_the_report_of_two_workers_is_that_of_one(
        small, checkpoint, tmp_path, monkeypatch):
    pytest.importorskip('matplotlib')
    rows = tuple(short(row) for row in (
        COPY, FULL, PLAIN, *ABLATIONS['c'][1:3]))
    monkeypatch.setattr(command, 'QUICK', rows)
    out, work = tmp_path / 'out', tmp_path / 'work'
    assert command.main([
        '--quick', '--pairs', '2', '--ckpt_dir', str(checkpoint), '--out',
        str(out), '--work', str(work), '--workers', '2']) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        'all.jpg', 'c.png', 'fidelity.png', 'pair-0.jpg', 'pair-1.jpg',
        'results.csv', 'table.md']
    alone = run(rows, Setup(
        checkpoint, tmp_path / 'alone', 'test', SIZE, FRAMES), 2)
    for file in (tmp_path / 'alone').glob('*.jsonl'):
        lines = [sorted(map(json.loads, path.read_text().splitlines()),
                        key=lambda r: (r['pair'], r['photo']))
                 for path in (file, work / file.name)]
        assert lines[0] == lines[1]
    with (out / 'results.csv').open(newline='') as file:
        table = list(csv.DictReader(file))
    assert len(table) == sum(2 * len(row.photos) for row in rows)
    for line in table:
        values = alone[line['row']][int(line['pair']), line['photo']]
        assert float(line['product_error']) == pytest.approx(
            values['product_error'], rel=1e-5)
    text = (out / 'table.md').read_text()
    assert all(f'`{row.name}`' in text for row in rows)


def test_a_found_masks_overlap_is_a_column(setup, tmp_path):
    rows = short(HIDDEN), short(
        HIDDEN, name='hidden_found', mask='velocity')
    results = run(rows, setup, 1)
    scores = [score(row, results[row.name]) for row in rows]
    assert 'iou' not in scores[0].right
    assert 0 <= scores[1].right['iou'].mean <= 1
    write_csv(tmp_path / 'results.csv', rows, results)
    with (tmp_path / 'results.csv').open(newline='') as file:
        given, found = csv.DictReader(file)
    assert given['iou'] == '' and 0 <= float(found['iou']) <= 1
    write_table(tmp_path / 'table.md', scores, setup, 1)
    assert 'IoU of the mask found' in (tmp_path / 'table.md').read_text()


def test_masks_can_be_found_alone(
        small, checkpoint, tmp_path, monkeypatch, caplog):
    pytest.importorskip('matplotlib')
    with caplog.at_level('INFO'):
        assert command.main([
            '--find', '--pairs', '1', '--ckpt_dir', str(checkpoint), '--out',
            str(tmp_path / 'out'), '--work', str(tmp_path / 'work')]) == 0
    assert [r.getMessage().partition(':')[0] for r in caplog.records
            if ': IoU ' in r.getMessage()] == [
        'velocity_full', 'words_full', 'velocity_hidden', 'words_hidden']


@pytest.mark.parametrize('flags, message', [
    (['--pairs', '0'], '--pairs is 0'),
    (['--workers', '0'], '--workers is 0'),
    (['--rows', 'main,worst'], "'worst'"),
    (['--quick', '--rows', 'main'], 'not allowed with'),
    (['--seeds', 'train'], 'invalid choice'),
    (['--unknown'], 'unrecognized'),
    (['--ckpt_dir', 'no/such/folder'], 'no/such/folder'),
    (['--out', __file__], 'Cannot write'),
])
def test_bad_flags(capsys, flags, message):
    assert command.main(flags) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('wan.synth.bench: error: ') and message in error


def test_a_measure_that_rows_do_not_have_has_no_panel():
    figure = pytest.importorskip('matplotlib.figure')
    same = Interval(0., 0., 0.)
    every = dict.fromkeys(plots.SHOWN, same)
    rows = ABLATIONS['guidance']
    some = {k: v for k, v in every.items() if k != CONTROL}
    for right, panels in ((every, 4), (some, 3)):
        drawn = figure.Figure(layout='constrained')
        plots._ablation('guidance', drawn, [Score(r, right, {}) for r in rows])
        assert len(drawn.axes) == panels
        assert not drawn.legends  # no photo, and no colours to tell apart
    drawn = figure.Figure(layout='constrained')
    plots._ablation('guidance', drawn, [Score(r, every, every) for r in rows])
    assert [text.get_text() for text in drawn.legends[0].texts] == [
        'right photo', 'wrong photo']


def test_without_matplotlib_nothing_is_run(
        capsys, checkpoint, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    assert command.main(['--ckpt_dir', str(checkpoint), '--out',
                         str(tmp_path)]) == 2
    assert '[bench]' in capsys.readouterr().err


def test_a_row_without_a_photo_has_no_control():
    assert Row('x', 'x').photos == ('none',)
    assert PLAIN.photos == ('right', 'wrong')


def test_rows_of_costs_are_compared_with_the_whole():
    for name, rows in COSTS.items():
        known = {row.name: row for row in rows}
        assert select(name) == rows and len(known) == len(rows)
        for row in rows:
            assert row.edit.composite and len(row.photos) == 1
            if row.against:
                full = known[row.against]
                assert not full.against and full.edit == row.edit
                assert (full.sparse, full.step_cache) == (DENSE, NO_CACHE)
                assert (row.sparse, row.step_cache) != (DENSE, NO_CACHE)
    assert len({row.key() for row in COSTS['sparse']}) == len(COSTS['sparse'])


@pytest.mark.parametrize('name, spent', [
    ('sparse=best.given.full', 6.), ('step_cache=best.1', 6.)])
def test_an_edit_costs_its_evaluations(editor, name, spent):
    r"""Two steps of three branches: the first and the last are evaluated."""
    row = short(*select(name))
    editor.run(row, 'right')
    assert editor.spent == spent


def test_a_sparse_edit_costs_its_share(editor):
    row, full = (short(*select(f'sparse=best.given.{x}'))
                 for x in ('0', 'full'))
    out = editor.run(row, 'right')
    region, *_ = editor.place(row, 'right')
    share = row.sparse.inside(region, (1, 2, 2)).float().mean().item()
    assert editor.spent == pytest.approx(2 * (1 + 2 * share)) and share < .9
    assert editor.measure(row, out)['evaluations'] == editor.spent
    # And outside of the mask both are the template.
    seen = region.pixels(editor.source.shape[1:])
    far = dilate(seen, 16) == 0
    assert torch.equal(out[:, far], editor.run(full, 'right')[:, far])


def test_a_row_is_compared_pair_by_pair(tmp_path, setup):
    def values(error, evaluations):
        return {'product_error': error, 'evaluations': evaluations}

    full, few = COSTS['sparse'][:2]
    base = {(0, 'none'): values(.2, 54.), (1, 'none'): values(.4, 54.)}
    found = score(few, {(0, 'none'): values(.23, 30.),
                        (1, 'none'): values(.41, 26.)}, base)
    assert found.less['product_error'].mean == pytest.approx(.02)
    write_table(tmp_path / 'table.md', [score(full, base), found], setup, 2)
    assert f'| `{few.name}` | {few.title} | 28.0 | 54.0 | 0.0200 [0.0100, ' \
        '0.0300] |' in (tmp_path / 'table.md').read_text()


def test_a_sampling_with_a_cache_is_measured(checkpoint, monkeypatch):
    monkeypatch.setattr(cached_sampling, 'STEPS', 6)
    monkeypatch.setattr(cached_sampling, 'THRESHOLDS', (0., 1.))
    clip = replace(make_pair(0).clip, frames=1)
    with torch.random.fork_rng():
        judge = Judge()
    pipe = cached_sampling.Counted(CONFIG, checkpoint, runtime=RUNTIME)
    found = cached_sampling.measured(pipe, judge, clip, 0)
    assert found[0.]['PSNR'] == 99. and found[0.]['evaluations'] == 1.
    assert found[1.]['evaluations'] < 1 and found[1.]['PSNR'] < 99.
    lines = cached_sampling.table([found])
    assert len(lines) == 4 and lines[2].startswith('| 0 | 1.00 [1.00, 1.00]')
