import argparse

import torch


def cache_video(tensor, save_file=None, fps=30, nrow=8, normalize=True,
                value_range=(-1, 1)):
    torch.save(tensor, save_file)


def str2bool(v):
    if isinstance(v, bool):
        return v
    if v.lower() in ("yes", "true", "t", "y", "1"):
        return True
    if v.lower() in ("no", "false", "f", "n", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{v} is neither true nor false")
