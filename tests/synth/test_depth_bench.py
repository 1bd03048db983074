r"""The benchmark in depth: pairs, measures against closed cases, its rows."""
import csv
from dataclasses import replace

import pytest
import torch

from wan.edit_config import EditConfig
from wan.product.collage import PASTES
from wan.synth.bench import __main__ as command
from wan.synth.bench import run as running
from wan.synth.bench.depth.measures import light_error, turn_is_right
from wan.synth.bench.depth.pairs import PHOTOS, make_depth_pair
from wan.synth.bench.depth.report import write_depth_table
from wan.synth.bench.depth.rows import (
    BANK,
    BESTS,
    BOUNDS,
    CHOICES,
    DEPTH_SETS,
    FLAT,
    LEVELS,
    MAIN,
    PASTED,
    QUICK,
    TEXT,
    refined,
    taken_as,
    variant,
)
from wan.synth.bench.edit import ELSEWHERE, PairEditor
from wan.synth.bench.pairs import SEEDS
from wan.synth.bench.run import run
from wan.synth.bench.store import Setup
from wan.synth.bench.worlds import WORLDS
from wan.synth.depth import DepthMotion, Thing
from wan.synth.judge import DEPTH_LABELS, Judge
from wan.utils.flags import names

PAIR = make_depth_pair(3, SEEDS['tune'], 64, 5)


@pytest.fixture(scope='module')
def answer():
    room = replace(PAIR.clip.room, things=(Thing('ball', 'navy', .1, .8, .2),))
    clip = replace(PAIR.clip, room=room, motion=DepthMotion(turn=.6))
    return replace(PAIR, clip=clip).answer()


def test_pairs_are_fair():
    for number in range(12):
        pair = make_depth_pair(number, SEEDS['tune'])
        assert pair == make_depth_pair(number, SEEDS['tune'])
        products = pair.clip.product, pair.product, pair.wrong
        assert len({product.pattern for product in products}) == 3
        colours = [c for product in products for c in product.colours]
        assert len(set(colours)) == len(colours)
        same = pair.product.shape == pair.clip.product.shape
        assert same == (number % 2 == 1)
        assert (pair.wrong.shape, pair.wrong.slim) == (
            pair.product.shape, pair.product.slim)
        yaw = pair.clip.motion.stand(pair.anchor, pair.clip.frames).yaw
        assert abs(pair.stands[0][0].yaw - yaw) < .18
    assert [len(PAIR.photos(kind)) for kind in PHOTOS[:2]] == [1, 1]
    assert len(PAIR.photos('views')) in (3, 4)
    assert PAIR.angles('any') == PAIR.angles('anchored') == ()
    angles = torch.tensor(PAIR.angles('views'))
    assert len(angles) == len(PAIR.photos('views'))
    # Around the product, each as far from the last.
    apart = 360 / len(angles)
    assert torch.allclose(angles.diff().remainder(360.),
                          torch.tensor(apart), atol=1e-3)


def test_prompts_hide_the_appearance():
    source, target = PAIR.prompts('hidden')
    assert PAIR.clip.product.pattern in source
    assert PAIR.product.pattern not in target
    assert PAIR.words[1] in target


def test_the_truth_is_right_and_a_copy_is_not(answer):
    right = answer.measure(answer.truth)
    for name in ('product_error', 'phase_free', 'light_error',
                 'occlusion_error', 'checkerboard'):
        assert right[name] == 0
    assert right['structure'] == pytest.approx(1)
    assert right['motion'] == 1
    assert right.get('turn_right', 1.) == 1
    copy = answer.measure(answer.source)
    assert copy['product_error'] > .1
    assert copy['occlusion_error'] < .1


def test_a_skin_turned_about_its_body_is_phase_free(answer):
    found = answer.measure(answer.shifted[6])
    assert found['phase_free'] == 0 < found['product_error']


def test_light_is_what_is_slow(answer):
    wave = .2 * (-1) ** torch.arange(64.)
    assert light_error(answer.truth + wave, answer.truth, answer) < .01
    assert light_error(answer.truth + .2, answer.truth, answer) \
        == pytest.approx(.1, abs=1e-4)


def test_what_stands_in_front_counts(answer):
    painted = torch.where(answer.hidden > .5, 1., answer.truth)
    assert answer.measure(painted)['occlusion_error'] > .2


@pytest.mark.parametrize('turn, right', [(.1, True), (.119, True),
                                         (.13, False), (0., False)])
def test_a_turn_within_a_fifth_is_right(turn, right):
    assert turn_is_right(turn, .1) == right


def test_rows_can_be_named():
    rows = {row.name for part in DEPTH_SETS.values() for row in part}
    assert len(rows) == len({
        row.key() for part in DEPTH_SETS.values() for row in part
        if part is not QUICK})
    assert not any(',' in name for name in rows) and len(MAIN) <= 10
    assert {row.name for row in QUICK} <= rows
    assert len({row.name for row in CHOICES}) == len(CHOICES)
    assert {row.edit.collage for row in PASTED.values()} == {*PASTES}


def test_a_row_is_a_change_of_settings():
    row = variant(BESTS['flat'], 'x', 'y', collage='turning', ref_c=(.1,),
                  caption='full')
    assert (row.edit.collage, row.ref.ref_c, row.caption) == (
        'turning', (.1,), 'full')
    assert replace(row, name=BESTS['flat'].name, title=BESTS['flat'].title,
                   edit=BESTS['flat'].edit, ref=BESTS['flat'].ref,
                   caption='hidden') == BESTS['flat']
    with pytest.raises(TypeError):
        variant(TEXT, 'x', 'y', colour='red')


def test_rows_that_read_a_photo_are_run_as_it_is_taken():
    rows = taken_as((TEXT, FLAT), ('any', 'views'))
    assert [(row.name, row.taken) for row in rows] == [
        ('text', ''), ('paste.any', 'any'), ('paste.views', 'views')]
    assert len({row.key() for row in rows}) == 3


def test_levels_are_sigmas():
    for level in LEVELS:
        sigmas = refined('turning', level).edit.sigmas
        assert sigmas[0].item() == pytest.approx(level, abs=.01)
        assert len(sigmas) == round(20 * level) + 1


@pytest.fixture(scope='module')
def editor(checkpoint):
    return PairEditor(lambda: running._pipeline(checkpoint), PAIR)


def short(row, taken='anchored'):
    steps = 3 if row.edit.edit_method == 'flowalign' else \
        row.edit.sample_steps // 5
    row = variant(row, row.name, row.title, sample_steps=steps)
    return taken_as([row], [taken])[0]


def test_what_needs_no_model_loads_none():
    def fail():
        raise AssertionError('The model was loaded.')

    free = PairEditor(fail, PAIR)
    for row in taken_as(BOUNDS, PHOTOS):
        video = free.run(row, row.photos[0])
        assert video.shape == free.source.shape
        assert free.measure(row, video)['evaluations'] == 0
    assert torch.equal(free.run(BOUNDS[1], 'none'), free.truth)


@pytest.mark.parametrize('kind', PASTES)
def test_an_edit_starts_from_the_collage_of_its_paste(editor, kind):
    region, goal, _ = editor.place(short(refined(kind, .5)), 'right')
    paste = editor.run(taken_as([PASTED[kind]], ['anchored'])[0], 'right')
    encoded = editor.pipe.encode_video(paste, editor.progress)
    inside = region.cells > 0
    assert torch.allclose(goal[:, inside], encoded[:, inside])
    template = editor.scenes['hidden'].latent
    assert torch.equal(goal[:, ~inside], template[:, ~inside])


def test_sampling_inside_keeps_what_is_outside(editor, monkeypatch):
    latents = []
    edit = editor.pipe.edit

    def spy(*args, **options):
        latents.append(edit(*args, **options))
        return latents[-1]

    monkeypatch.setattr(editor.pipe, 'edit', spy)
    row = short(refined('flat', .5, c=.3))
    right, wrong = (editor.run(row, photo) for photo in row.photos)
    assert not torch.equal(right, wrong)
    region, goal, _ = editor.place(row, 'wrong')
    kept = region.cells == 0
    assert kept.any() and torch.allclose(
        latents[1][:, kept], goal[:, kept], atol=1e-5)
    assert not torch.allclose(latents[1][:, ~kept], goal[:, ~kept], atol=1e-2)


def test_all_views_are_read(editor):
    row = short(BANK[.5, 2.], 'views')
    assert len(editor.products(row, 'right')) == len(PAIR.photos('views'))
    one = replace(row, taken='any')
    assert not torch.equal(editor.run(row, 'right'),
                           editor.run(one, 'right'))


def test_the_judge_knows_solids(tmp_path):
    with torch.random.fork_rng():
        Judge(DEPTH_LABELS).save(tmp_path / 'judge.safetensors')
    setup = Setup(None, tmp_path, 'tune', 128, 5,
                  tmp_path / 'judge.safetensors', 'depth')
    found = run([BOUNDS[0]], setup, 1)['copy'][0, 'none']
    assert {found[f'judge_{name}'] for name in DEPTH_LABELS} <= {0., 1.}


@pytest.fixture
def small(monkeypatch, tmp_path):
    r"""The command in one process, with small clips and no judge, which
    reads large ones."""
    monkeypatch.setattr(
        command, 'run', lambda rows, setup, pairs, _: run(rows, setup, pairs))
    monkeypatch.setitem(WORLDS, 'depth', WORLDS['depth']._replace(
        size=64, frames=5, judge=tmp_path / 'no judge',
        checkpoint=tmp_path / 'no checkpoint'))
    return ['--out', str(tmp_path / 'out'), '--work', str(tmp_path / 'work')]


def test_a_quick_look(small, checkpoint, tmp_path):
    out = tmp_path / 'out'
    assert command.main([
        *small, '--depth', 'quick', '--ckpt_dir', str(checkpoint),
        '--photos', 'views']) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        'all.jpg', 'differences.png', 'pair-0.jpg', 'pair-1.jpg',
        'results.csv', 'table.md']
    rows = taken_as(QUICK, ('views',))
    text = (out / 'table.md').read_text()
    assert '## Photo: views' in text and '## Photo: any' not in text
    assert all(f'`{row.name}`' in text for row in rows)
    assert '| minus `turning.views` |' in text and 'judge' not in text
    with (out / 'results.csv').open(newline='') as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == sum(2 * len(row.photos) for row in rows)
    # Once more, from what was kept: nothing is run.
    files = [path.read_bytes() for path in (tmp_path / 'work').glob('*.jsonl')]
    setup = Setup(checkpoint, tmp_path / 'work', 'test', 64, 5, None, 'depth')
    assert run(rows, setup, 2) and files == [
        path.read_bytes() for path in (tmp_path / 'work').glob('*.jsonl')]


def test_the_bounds_need_no_checkpoint(small, capsys, tmp_path):
    assert command.main([
        *small, '--depth', 'bounds', '--pairs', '1', '--photos', 'any',
        '--against', 'upright.any']) == 0
    assert '| minus `upright.any` |' in (
        tmp_path / 'out' / 'table.md').read_text()
    assert command.main([*small, '--depth', 'text', '--pairs', '1']) == 2
    assert '--ckpt_dir names another' in capsys.readouterr().err


@pytest.mark.parametrize('flags, message', [
    (['--depth', 'worst'], "'worst'"),
    (['--depth', 'bounds', '--photos', 'front'], 'invalid choice'),
    (['--depth', 'bounds', '--against', 'best_flat'], "has 'best_flat'"),
    (['--depth', '--native'], 'not allowed with'),
    (['--photos', 'any'], '--photos is of --depth alone'),
    (['--native', '--against', 'copy'], '--against is of --depth alone'),
])
def test_bad_flags(capsys, flags, message):
    assert command.main(flags) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_table_of_results_with_gaps(tmp_path):
    r"""Nothing stands in front in pair 1, and only 0 shows its turn."""
    rows, results = taken_as((FLAT, PASTED['turning']), ('any',)), {}
    for row, error in zip(rows, (.3, .2), strict=True):
        results[row.name] = {
            (pair, photo): {'product_error': error + .1 * pair + add}
            for pair in (0, 1) for photo, add in (('right', 0), ('wrong', .5))}
        results[row.name][0, 'right'] |= {
            'occlusion_error': error / 2, 'turn_right': 1.}
    setup = Setup(None, tmp_path, 'tune', world='depth')
    write_depth_table(tmp_path / 'table.md', rows, results, setup, 2)
    text = (tmp_path / 'table.md').read_text()
    assert '| 0.350 | 0.150 | 1 of 1 | +0.500 [+0.500, +0.500] |' in text
    assert '| `turning.any` | -0.100 [-0.100, -0.100], -29 % | ' \
        '-0.050 [-0.050, -0.050] |' in text
    assert '| `paste.any` | +0.100 [+0.100, +0.100], +40 % |' in text
    assert 'background' not in text.partition('##')[2]


def test_settings_that_do_not_move_a_collage_share_it():
    assert {*ELSEWHERE} <= {*names(EditConfig)}
