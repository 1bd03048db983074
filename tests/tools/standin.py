r"""The stand-in for Wan2.1 in tests/data/standin, as a git checkout."""
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

STANDIN = Path(__file__).parents[1] / 'data/standin'


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
