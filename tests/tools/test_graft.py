r"""tools/graft.py: on a stand-in for Wan2.1, see tests/data/standin."""
import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import MethodType

import pytest
import torch
import torch.nn.functional as F

from tests.edits import SOURCE, TARGET
from tests.tools.recorded_checkout import write_checkout
from tools import graft, grafted
from tools.checkout import Shape
from tools.graft_edits import edited as edited_source
from tools.graft_files import files_to_copy
from tools.graft_trees import wrapped
from wan.edit_config import PRESETS, EditConfig
from wan.modules.model import WanModel
from wan.pipeline import Parts
from wan.product.photo import Product
from wan.refdrop.config import RefConfig
from wan.runtime import Runtime
from wan.utils.flags import names
from wan.utils.image import open_image
from wan.utils.mask_file import read_mask
from wan.utils.video import read_video

ROOT = Path(graft.__file__).parents[1]
STANDIN = ROOT / 'tests/data/standin'
WANTED = 60


def git(folder, *args):
    return subprocess.run(
        ['git', '-C', folder, '-c', 'user.name=a', '-c', 'user.email=a@b',
         *args], check=True, capture_output=True, text=True).stdout


def make_checkout(folder):
    shutil.copytree(STANDIN, folder,
                    ignore=shutil.ignore_patterns('__pycache__'))
    git(folder, 'init', '-q')
    git(folder, 'add', '-A')
    git(folder, 'commit', '-qm', 'as it is')
    return folder


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp('plain') / 'wan21')


@pytest.fixture(scope='module')
def on(tmp_path_factory):
    r"""A grafted checkout; not to be written to."""
    folder = make_checkout(tmp_path_factory.mktemp('grafted') / 'wan21')
    assert graft.main([str(folder)]) == 0
    return folder


@pytest.fixture
def checkout(tmp_path):
    return make_checkout(tmp_path / 'wan21')


def contents(folder):
    r"""Path -> bytes of all that is not git's own."""
    return {path.relative_to(folder): path.read_bytes()
            for path in folder.rglob('*')
            if path.is_file() and '.git' not in path.parts}


def sdpa(q, k, v, q_lens=None, k_lens=None, window_size=(-1, -1)):
    mask = None
    if k_lens is not None:
        mask = (torch.arange(k.size(1)) < k_lens[:, None])[:, None, None]
    return F.scaled_dot_product_attention(
        *(u.transpose(1, 2) for u in (q, k, v)), attn_mask=mask
    ).transpose(1, 2)


def package(folder, name):
    r"""A package of a checkout in this process, as `name`."""
    spec = importlib.util.spec_from_file_location(
        name, folder / '__init__.py', submodule_search_locations=[str(folder)])
    found = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


# --- what the method does there ---

# Flags of an edit, and the same as settings.
EDITS = {
    'masked': (
        ('--src_mask', 'box.png', '--target_image', 'cut.png', '--ref_c',
         '0.5', '--ref_t', '0.6', '--composite'),
        {'ref_c': (0.5,), 'ref_t': '0.6', 'composite': True}),
    'found': (
        ('--target_image', 'cut.png', '--ref_t', 'match', '--ref_rope',
         'spatial', '--batch_branches', '--ref_preset', 'gentle'),
        {**PRESETS['gentle'], 'ref_t': 'match', 'ref_rope': 'spatial',
         'batch_branches': True}),
    'text': (
        ('--edit_method', 'flowedit', '--use_mask', 'false', '--n_prompt',
         'grey', '--sample_guide_scale', '4'),
        {'edit_method': 'flowedit', 'sample_guide_scale': 4}),
}
RUN = f"""
import json, sys
import torch
import torch.nn.functional as F
import wan.modules.model
{inspect.getsource(sdpa)}
wan.modules.model.flash_attention = sdpa
import generate
for flags in json.loads(sys.argv[1]):
    sys.argv[1:] = flags
    generate.generate(generate._parse_args())
"""


@pytest.fixture(scope='module')
def edited(on, checkpoint, media, tmp_path_factory):
    r"""Name -> video [3, F, H, W] of `EDITS`, by the checkout's command."""
    out = tmp_path_factory.mktemp('edited')
    commands = [[
        '--task', 'pvtt', '--ckpt_dir', str(checkpoint), '--size', '64*64',
        '--frame_num', '5', '--sample_steps', '4', '--base_seed', '1',
        '--src_video', str(media / 'clip.mp4'), '--source_prompt', SOURCE,
        '--target_prompt', TARGET, '--save_file', str(out / name),
        *(str(media / f) if f.endswith('.png') else f for f in flags),
    ] for name, (flags, _) in EDITS.items()]
    run = subprocess.run(
        [sys.executable, '-c', RUN, json.dumps(commands)],
        cwd=on, env={**os.environ, 'PYTHONPATH': str(on)},
        capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return {name: torch.load(out / name)[0] for name in EDITS}


@pytest.fixture(scope='module')
def ours(plain, checkpoint, media):
    r"""(name, changed settings) -> the same by our own model.

    Text encoder and VAE are the checkout's.
    """
    toys = package(plain / 'wan/modules', 'toys')
    pipe = grafted.WanPVTT.of(
        Parts(WanModel.from_pretrained(checkpoint), toys.T5EncoderModel(32),
              grafted.GraftedVAE(toys.WanVAE(device='cpu'))),
        package(plain / 'wan/configs', 'toy_configs').t2v_14B,
        Runtime(device='cpu', dtype='float32'))
    clip = read_video(media / 'clip.mp4', (64, 64), 16, 5)

    def edit(name, **changes):
        flags, settings = EDITS[name]
        settings = {'sample_steps': 4, **settings, **changes}
        edit, ref = (
            cls(**{k: v for k, v in settings.items() if k in names(cls)})
            for cls in (EditConfig, RefConfig))
        photos = [Product(open_image(media / 'cut.png')[0])] \
            if 'cut.png' in flags else []
        mask = read_mask(media / 'box.png', (64, 64), 16, 5) \
            if 'box.png' in flags else None
        return pipe.generate(
            clip, photos, SOURCE, TARGET, edit, ref, mask,
            use_mask='--use_mask' not in flags, n_prompt='grey', seed=1,
            round_trip=False).video

    return edit


@pytest.mark.parametrize('name', EDITS)
def test_an_edit_there_is_ours(edited, ours, name):
    mine = ours(name)
    assert edited[name].shape == mine.shape == (3, 5, 64, 64)
    assert (edited[name] - mine).abs().max() < 1e-5


def test_the_edit_reads_the_photo(edited, ours):
    without = ours('masked', ref_c=(0.,))
    assert (edited['masked'] - without).abs().max() > 1e-2


# --- what it leaves alone ---

SIZES = {'text_len': 8, 'dim': 24, 'ffn_dim': 32, 'freq_dim': 16,
         'text_dim': 12, 'num_heads': 2, 'num_layers': 2}


@pytest.fixture(scope='module')
def both(plain, on):
    r"""A model without and with the graft, of the same weights."""
    models = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for folder, name in ((plain, 'plain_modules'), (on, 'on_modules')):
            found = package(folder / 'wan/modules', name)
            sys.modules[f'{name}.model'].flash_attention = sdpa
            models.append(found.WanModel(**SIZES))
    models[1].load_state_dict(models[0].state_dict())
    return models


def inputs():
    g = torch.Generator().manual_seed(0)
    return {'x': [torch.randn(16, 2, 4, 6, generator=g)],
            't': torch.tensor([500.]), 'seq_len': 14,
            'context': [torch.randn(5, 12, generator=g)]}


def test_without_a_reference_the_bits_are_the_same(both):
    plain, there = (model(**inputs())[0] for model in both)
    assert plain.abs().max() > 0.1 and there.equal(plain)


def test_slots_see_what_they_may(both):
    seen = []

    def slot(q, k, v, x, *rotated):
        seen.append([q, k, v, x, *rotated])
        return x + 1

    plain, there = both[0](**inputs())[0], both[1](
        **inputs(), ref=[slot, None])[0]
    assert len(seen) == 1 and not there.equal(plain)
    assert {t.shape for t in seen[0]} == {(1, 14, 2, 12)}


def test_an_attention_without_a_reference_may_stand_in(both):
    r"""As that of sequence parallelism is put in place of the module's."""

    def forward(self, x, seq_lens, grid_sizes, freqs, dtype=torch.bfloat16):
        assert dtype is torch.bfloat16
        return x

    for model in both:
        for block in model.blocks:
            block.self_attn.forward = MethodType(forward, block.self_attn)
    plain, there = (model(**inputs())[0] for model in both)
    for model in both:
        for block in model.blocks:
            del block.self_attn.forward
    assert there.equal(plain)


# --- the command ---


def test_the_diff_is_small_and_what_git_sees(on, plain, capsys):
    assert graft.main([str(plain), '--check']) == 0
    said = capsys.readouterr().out
    numbers = [line.split('\t') for line in git(
        on, 'diff', '--numstat').splitlines()]
    changed = sum(int(a) + int(b) for a, b, _ in numbers)
    assert {name for _, _, name in numbers} == set(graft.EDITS)
    assert changed <= WANTED and f"Wan2.1's files {changed} lines" in said
    new = git(on, 'ls-files', '-o', '--exclude-standard').split()
    assert sorted(new) == sorted(files_to_copy(plain))
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
    (checkout / 'wan/refdrop/__pycache__/bank.pyc').touch()
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


def test_no_checkout_is_a_usage_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        graft.main([str(tmp_path)])
    assert stop.value.code == 2
    assert 'is not a Wan2.1 checkout: it has no' in capsys.readouterr().err


MODEL = 'wan/modules/model.py'


@pytest.mark.parametrize('path, old, new, missing', [
    (MODEL, 'class WanSelfAttention(', 'class Attention(',
     'there is no class WanSelfAttention'),
    (MODEL, 'seq_lens, grid_sizes, freqs):', 'grid_sizes, freqs):',
     'there is no WanSelfAttention.forward(self, x, seq_lens, grid_sizes, '
     'freqs), but one of (self, x, grid_sizes, freqs)'),
    (MODEL, 'q=rope_apply(q, grid_sizes, freqs),', 'q=q,',
     'there is no x = flash_attention(q=rope_apply'),
    (MODEL, '            freqs)', '            freqs=freqs)',
     'there is no self.self_attn(..., seq_lens'),
    (MODEL, '        for block in self.blocks:',
     '        for block in list(self.blocks):',
     'there is no for block in self.blocks'),
    (MODEL, '        y=None,\n    ):', '        y=None,\n    ]:',
     'Syntax Error'),
    ('wan/__init__.py', 'from .', 'import wan # ',
     'there is no from . import'),
    ('generate.py', 'EXAMPLE_PROMPT = {', 'EXAMPLES = {',
     'there is no EXAMPLE_PROMPT = {...}'),
    ('generate.py', 'import wan\n', '', 'there is no import of wan'),
    ('generate.py', 'args = parser.parse_args()', 'args = parse()',
     'there is no args = parser.parse_args()'),
    ('generate.py', 'wan.WanT2V(', 'wan.Other(',
     'there is no `if ... in args.task:`'),
    ('generate.py', 'video = wan_t2v.generate(', 'wan_t2v.generate(',
     'there is no video = ....generate(...)'),
])
def test_code_of_another_shape_is_none(path, old, new, missing):
    text = (STANDIN / path).read_text()
    assert old in text
    with pytest.raises(Shape) as error:
        edited_source(path, text.replace(old, new))
    assert str(error.value).startswith(f'{path}: {missing}')


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


def test_lines_are_laid_out_as_they_are():
    r"""Parameters side by side, and calls that grow too long."""
    text = (STANDIN / MODEL).read_text()
    one_line = re.sub(
        r'forward\(\n\s+([^)]*?),\n    \)',
        lambda found: f'forward({" ".join(found[1].split())})', text)
    assert 'forward(self, x, t, context, seq_len, clip_fea=None, y=None):' \
        in one_line
    assert 'clip_fea=None, y=None, ref=None):' in edited_source(
        MODEL, one_line)
    assert wrapped('x = f(', ['a' * 40, 'b' * 30, 'c'], 12) == (
        f'x = f({"a" * 40},\n          {"b" * 30}, c)')


def test_our_files_need_no_name_that_upstream_lacks(tmp_path):
    r"""The recorded tables have the names of the real files."""
    files = files_to_copy(write_checkout(tmp_path))
    assert {'wan/pvtt.py', 'wan/velocity.py', 'wan/refdrop/__init__.py',
            'wan/grafted.py'} <= set(files)
    assert not [name for name in files if (tmp_path / name).exists()]


def test_other_tasks_flags_are_refused():
    from argparse import Namespace
    plain = {**grafted.OTHERS, 'src_video': 'a.mp4'}
    with pytest.raises(ValueError, match='--image is not for --task pvtt'):
        grafted.pvtt_video(Namespace(**plain | {'image': 'a.png'}))
    with pytest.raises(ValueError, match='--source_prompt is missing'):
        grafted.pvtt_video(Namespace(**plain))


def test_the_readme_shows_the_diff(plain):
    diff = graft.plan(plain).diff(context=1)
    shown = (ROOT / 'README.md').read_text('utf-8')
    assert f'```diff\n{diff}```\n' in shown
    assert diff.count('\n') <= WANTED
