r"""The benchmarks: what they count, and that what they compare is the same."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import (
    common,
    distributed,
    dit,
    edit,
    growth,
    memory,
    predicted,
    refdrop,
    scaling,
    sparse,
    vae,
)
from benchmarks.distributed_work import Layout
from benchmarks.peak import peak_bytes
from benchmarks.scaling import Evaluation, Machine
from wan.configs import WAN_CONFIGS
from wan.distributed.mesh import Mesh
from wan.flowalign import _noises, edit_sigmas, flowalign
from wan.pvtt import WanPVTT
from wan.runtime import Runtime
from wan.utils.progress import Progress
from wan.velocity import at_sigma, velocity

SMALL = (
    '--config', 't2v-tiny', '--dim', '48', '--ffn_dim', '64', '--num_heads',
    '4', '--size', '64*48', '--frames', '9', '--rounds', '1', '--dtype',
    'fp32')


@pytest.fixture
def argv(monkeypatch):
    r"""Set the command line's flags."""
    return lambda *flags: monkeypatch.setattr('sys.argv', ['', *flags])


def test_a_block_has_the_flops_that_are_reported(argv):
    argv(*SMALL, '--backend', 'matmul')
    args = dit.parse_args(dit.__doc__)
    tokens, counted, reported = 3 * 4 * 3, [], []
    for args.layers_limit in 1, 2:
        model = dit.build(args, torch.float32, 'cpu')
        text = model.project_text([torch.randn(5, model.text_dim)])
        with FlopCounterMode(display=False) as counter:
            model([torch.randn(16, 3, 8, 6)], torch.tensor([500.]), text,
                  tokens, attend=dit.attend_by(args))
        counted.append(counter.get_total_flops())
        reported.append(dit.flops(model, tokens))
    assert counted[1] - counted[0] == reported[1] - reported[0] > 0


def test_the_plain_transformer_is_ours(argv, capsys):
    r"""main() refuses outputs that differ."""
    argv(*SMALL)
    dit.main()
    assert '| straightforward, fp32 |' in capsys.readouterr().out


def test_the_plain_vae_is_ours(argv, capsys):
    argv('--dim', '8', '--size', '32*24', '--frames', '5', '--rounds', '1',
         '--tile', '3', '1', '--dtype', 'fp32')
    vae.main()
    assert '| decode fp32, tiled ' in capsys.readouterr().out


def test_outputs_that_differ_are_refused(argv, monkeypatch):
    argv(*SMALL)
    monkeypatch.setitem(dit.LIMITS, 'fp32', -1.)
    with pytest.raises(SystemExit, match='the outputs differ by'):
        dit.main()


def test_reading_adds_what_the_photo_has(argv, capsys):
    r"""Of 2 branches 1/T of the self-attention; a 16th of it with masks."""
    argv(*SMALL)
    refdrop.main()
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith('|')]
    added = {row[0]: row[-1] for row in rows if len(row) == 5}
    # 36 tokens of width 48, of which the photo has 12; 64 of text
    one = 2 * 36 * (6 * 48**2 + 2 * 48 * 64 + 2 * 48 * (36 + 64))
    extra = 2 * 4 * 36 * 12 * 48
    assert added['without, fp32'] == '+0.0%'
    assert added['with the photo, fp32'] == f'{extra / (3 * one):+.1%}'
    assert added['with masks, fp32'] == f'{extra / (48 * one):+.1%}'
    assert rows[-1][-1].endswith('(1/T = 33.3%)')


def test_several_processes_send_what_the_formulas_say(
        argv, tmp_path, capsys):
    r"""main() refuses results that differ from those of one process."""
    page = tmp_path / 'page.md'
    page.write_text('before\n{}\nold\n{}\nafter\n'.format(
        *distributed.MARKS))
    argv('--layers_limit', '1', '--frames', '5', '--sizes', '64*48', '48*48',
         '--rounds', '1', '--layouts', 'U2R2F', 'B2', '--branches', '2',
         '--write', str(page))
    distributed.main()
    text = page.read_text()
    assert text.startswith('before\n') and text.endswith('\nafter\n')
    assert 'old' not in text and capsys.readouterr().out.strip() in text
    table = text.split('**Predicted**')[0].splitlines()
    rows = {row[0]: row for row in (
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in table if line.startswith('|'))}
    assert 'error, 24 tokens' in rows['layout']
    assert 'error, 18 tokens' in rows['layout']
    for name in '1', 'U2R2F', 'B2':
        assert rows[name][-4] == rows[name][-3]
    assert rows['1'][-4] == '0.000'
    # Two velocities, each sent by one of two.
    assert rows['B2'][-4] == f'{64 * 4 * 24 / 1e6:.3f}'
    assert float(rows['U2R2F'][4]) > 1e-5 > float(rows['U2R2F'][3])
    assert float(rows['U2R2F'][-2]) < .5 * float(rows['1'][-2])


@pytest.mark.parametrize('flags, message', [
    (['--layouts', 'X3'], "'X3' is no layout"),
    (['--device', 'cuda', '--layouts', 'U64'], 'U64 needs 64 GPUs')])
def test_layouts_that_cannot_be_are_refused(argv, capsys, flags, message):
    argv(*flags)
    with pytest.raises(SystemExit):
        distributed.main()
    assert message in capsys.readouterr().err


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(distributed.MARKS[0])
    with pytest.raises(SystemExit, match='page.md has no'):
        common.write(page, 'tables', distributed.MARKS)
    assert page.read_text() == distributed.MARKS[0]


@pytest.mark.parametrize('name', ['1', 'B2U4R2F', 'U4R2', 'F8', 'B3F2'])
def test_a_layout_has_a_name(name):
    layout = Layout.of(name)
    assert scaling.name_of(layout.mesh, layout.fsdp) == name


SIZES = WAN_CONFIGS['t2v-14B']


def test_what_is_sent():
    r"""Counted by hand: 40 layers of 5120, 80 tokens, bfloat16."""
    one = Evaluation(SIZES, 80, weights=800.)
    tensor = 40 * 80 * 5120 * 2
    # q, k, v and the result lose half on the way between 2 of 4.
    assert one.sent(Mesh(ring=2, ulysses=2), True) == {
        'ulysses': 4 * tensor / 4 / 2, 'ring': 2 * tensor / 4,
        'gather': 3 * 20 * 64 * 4, 'weights': 600.}
    assert set(one.sent(Mesh()).values()) == {0.}
    # Two groups of two and a velocity for each of 3 branches.
    half = sum(one.sent(Mesh(ulysses=2)).values())
    assert one.sent_a_step(Mesh(branch=2, ulysses=2), 3) == (
        3 * half + 3 * 80 * 64 * 4) / 2


def test_predicted_times():
    one = Evaluation.of('t2v-1.3B', '832*480')
    free, slow = Machine(1e15, 1e30), Machine(1e15, 1e9)
    alone = one.flops / 1e15
    assert one.seconds(Mesh(), slow) == alone
    for mesh in Mesh(ring=8), Mesh(ulysses=4, ring=2):
        assert one.seconds(mesh, free) == pytest.approx(alone / 8)
        assert one.seconds(mesh, slow) > alone
    # Ulysses is waited for, all of it.
    assert one.seconds(Mesh(ulysses=2), slow) == pytest.approx(
        alone / 2 + sum(one.sent(Mesh(ulysses=2)).values()) / 1e9)
    # The busiest of two groups has two of three branches.
    assert one.seconds_a_step(Mesh(branch=2), free, 3) == 2 * alone
    assert one.seconds_a_step(Mesh(copies=8), free, 2, True) == 2 * alone


def test_predictions_beside_what_was_published():
    rows = list(scaling.against_published())
    assert [row[0] for row in rows] == ['1', '2', '4', '8']
    for row, error in zip(rows, (.001, .02, .02, .04), strict=True):
        assert float(row[2]) == pytest.approx(float(row[4]), rel=error)
    assert rows[-1][-1] == '6.38x'


@pytest.mark.parametrize('config, size, gib', [
    ('t2v-14B', '1280*720', 40.6), ('t2v-14B', '832*480', 32.9),
    ('t2v-1.3B', '832*480', 4.5)])
def test_memory_of_one_card(config, size, gib):
    r"""As README.md has it for an edit, which keeps a photo's bank too, and
    the keys and values of two prompts."""
    one = Evaluation.of(config, size)
    frame = one.tokens / 21
    kept = frame + 2 * 512
    bank = 2 * 2 * one.sizes.dim * one.sizes.num_layers * kept
    assert (one.memory(Mesh()) + bank) / 2**30 == pytest.approx(gib, rel=.02)
    assert one.memory(Mesh(ulysses=4), True) < .5 * one.memory(Mesh())


def test_a_step_of_some_tokens_has_its_share_of_the_flops(argv, capsys):
    argv(*SMALL)
    args = dit.parse_args(sparse.__doc__)
    counted = {}
    for args.layers_limit in 1, 2:
        counted[args.layers_limit] = sparse.counted(args)
    one, two = counted.values()
    # 36 tokens: 18, 9 and (for a tenth) 4 of them.
    block = two[0] - one[0]
    for share, few, some in zip((1, .5, .25, 4 / 36), one, two, strict=True):
        assert some - few == pytest.approx(block * (1 + 2 * share) / 3)
    sparse.main()
    assert "| the edit's tokens 25%, fp32 " in capsys.readouterr().out


def test_a_further_edit_adds_its_tokens_alone(argv):
    argv(*SMALL)
    args, blocks = dit.parse_args(sparse.__doc__), []
    for args.layers_limit in 1, 2:
        blocks.append([sparse.together(args, n, .25) for n in (1, 2, 3)])
        blocks[-1].append(sparse.together(args, 1, 1.))
    *some, full = (b - a for a, b in zip(*blocks, strict=True))
    for count, cost in enumerate(some, 1):
        assert cost == pytest.approx(full * (1 + 2 * .25 * count) / 3)


def test_a_further_product_is_at_most_a_quarter_of_an_edit():
    for row in predicted.further():
        assert 16.6 < float(row[-1].rstrip('%')) <= 25


def test_the_peak_is_of_what_is_alive_at_a_time():
    r"""Three tensors are made, of which two are there at once."""
    given = torch.zeros(100)

    def work():
        a = given + 1
        b = a * 2
        del a
        return b.view(10, 10) + 1

    assert peak_bytes(work) == 2 * 400
    with torch.device('meta'):
        given = torch.zeros(100)
    assert peak_bytes(work) == 2 * 400


@pytest.mark.parametrize('case', [
    memory.Forward('cpu', 256, 1024, (2, 16, 16), torch.float32),
    memory.Forward('meta', 1536, 8960, (5, 60, 104), torch.bfloat16, 3),
    memory.Forward('meta', 5120, 13824, (5, 60, 104), torch.bfloat16),
    memory.Coding('cpu', 'decode', 16, (2, 8, 8), torch.float32),
    memory.Coding('cpu', 'encode', 16, (3, 8, 8), torch.bfloat16),
    memory.Coding('meta', 'decode', 96, (3, 60, 104), torch.float32),
    memory.Coding('meta', 'encode', 96, (3, 60, 104), torch.float32),
    memory.Coding('meta', 'decode', 96, (2, 60, 104), torch.bfloat16,
                  memory.TILE)], ids=str)
def test_memory_is_as_predicted(case):
    assert case.predicted == pytest.approx(case.measured(), rel=.15)


def test_predicted_evaluations():
    assert predicted.evaluations() == 3
    assert predicted.evaluations(1.) == 3 and predicted.evaluations(0.) == 1
    assert predicted.tokens(480, 832) == 32760
    assert predicted.tokens(720, 1280) == 75600


def test_predicted_beside_what_was_published():
    r"""No GPU does more than its rate."""
    for row in predicted.public():
        assert .2 < float(row[-1].rstrip('%')) / 100 < .8


@pytest.fixture
def subject(checkpoint, monkeypatch):
    r"""Random weights in the place of the embedded model's, and one step."""
    monkeypatch.setattr(edit, 'EMBEDDED', checkpoint)
    monkeypatch.setattr(edit, 'CATALOGUE', 2)
    pipe = WanPVTT(WAN_CONFIGS['t2v-tiny'], checkpoint, runtime=Runtime(
        device='cpu', dtype='float32'))
    return edit.Subject(pipe, 0, frames=5, steps=2, size=128)


@torch.no_grad()
def test_the_plain_edit_is_ours_without_the_photo(subject):
    r"""Networks, and the loop with the same noise."""
    pipe, plain = subject.pipe, subject.plain
    latent = pipe.encode_video(subject.clip, Progress())
    torch.testing.assert_close(
        plain.encode(subject.clip)[0], latent, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        plain.decode(latent[None]), pipe.decode(latent, Progress()).clamp(
            -1, 1), rtol=1e-3, atol=1e-3)
    texts = {name: torch.randn(4, pipe.model.text_dim)
             for name in ('source', 'target')}
    told = {name: pipe.condition(text) for name, text in texts.items()}
    v = velocity(pipe.denoiser, {
        'q': told['source'], 'ps': told['source'], 'pt': told['target']})
    sigmas, goal = edit_sigmas(3, 5., 1.), torch.randn_like(latent)
    noises = [noise[None] for noise in _noises(
        latent, sigmas, torch.Generator().manual_seed(1))]
    torch.testing.assert_close(
        plain.flowalign(latent[None], texts, sigmas.tolist(), noises, 3.,
                        torch.tensor(.2), goal)[0],
        flowalign(latent, at_sigma(v, pipe.denoiser), sigmas,
                  torch.Generator().manual_seed(1), guide_scale=3., zeta=.2,
                  goal=goal), rtol=1e-3, atol=1e-3)


def test_a_whole_edit_is_counted_stage_by_stage(subject):
    found = edit.measured(subject, 1)
    assert len(found) == len(list(edit.summary(found))) == 5
    plain, full, sparse, cached, many = (
        found[name].work for name in subject.runs)
    # The photo's bank is read too, which costs next to nothing.
    assert plain['edit'] == pytest.approx(full['edit'], rel=.1)
    assert many['edit'] < sparse['edit'] < full['edit']
    assert cached['edit'] == sparse['edit']  # of one step
    for one in found.values():
        assert one.peak > 0 and one.quality['product_error'] > 0
        assert all(one.cpu[0][stage] >= 0 for stage in edit.STAGES)


def test_a_further_product_adds_its_own_tokens(subject):
    rows = list(edit.further(subject, 2))
    added = [float(row[-1].rstrip('%')) for row in rows]
    assert added[0] > added[1] > 0
    assert float(rows[1][2].rstrip('%')) == pytest.approx(
        sum(added), abs=2)


def test_exponents(subject, monkeypatch):
    assert growth.exponent((1, 2, 4), (3, 12, 48)) == pytest.approx(2)
    monkeypatch.setattr(growth, 'FRAMES', (5, 9))
    monkeypatch.setattr(growth, 'SIDES', (64, 96))
    monkeypatch.setattr(growth, 'SHARES', (.25, .5))
    rows = list(growth.rows(subject.pipe, 1))
    assert [row[0] for row in rows] == [
        'frames', 'area', "the product's share"]
    for *_, work, _ in rows:
        assert .7 < float(work) < 2  # linear layers, and attention


GPU = Path(predicted.__file__).with_name('gpu.sh')


def test_the_gpu_script_is_under_ten_minutes_and_runs_what_there_is():
    text = GPU.read_text('utf-8').replace('\\\n', ' ')
    limits = [int(n) for n in re.findall(r'^ *part (\d+) ', text, re.M)]
    assert len(limits) == 8 and sum(limits) < 600
    for name in re.findall(r'-m benchmarks\.(\w+)', text):
        assert GPU.with_name(f'{name}.py').is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason='would run it all')
def test_the_gpu_script_says_that_there_is_no_gpu():
    run = subprocess.run(
        ['bash', GPU], capture_output=True, text=True, timeout=60,
        env={**os.environ, 'PYTHON': sys.executable})
    assert run.returncode == 2
    assert 'needs a CUDA device, and there is none' in run.stderr
