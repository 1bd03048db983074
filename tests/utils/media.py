r"""Small real media files for the tests."""
import subprocess
from pathlib import Path

import imageio_ffmpeg
import torch


def ffmpeg(*args: object) -> str:
    r"""Run the bundled ffmpeg; returns its stdout."""
    return subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), '-nostdin', '-y', '-v', 'error',
         *map(str, args)],
        check=True, capture_output=True, text=True).stdout


def make_clip(
    path: Path,
    *options: object,
    source: str = 'testsrc=s=64x48:r=30:d=1',
    inputs: tuple = (),
) -> Path:
    r"""A small H.264 clip of an lavfi `source`; `options` go to the output."""
    ffmpeg('-f', 'lavfi', '-i', source, *inputs, '-c:v', 'libx264', '-pix_fmt',
           'yuv420p', '-preset', 'ultrafast', *options, path)
    return path


def ramp(seconds: float, size: str = '32x32', rate: int = 30) -> str:
    r"""An lavfi source as bright as its time: 16 + 200 t / seconds."""
    return (f'color=s={size}:r={rate}:d={seconds},format=yuv444p,'
            f"geq=lum='16+200*T/{seconds}':cb=128:cr=128")


def noise(
    frames: int = 4, height: int = 32, width: int = 48, batch: int = 1,
) -> torch.Tensor:
    r"""[B, 3, T, H, W] in [-1, 1], always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(
        batch, 3, frames, height, width, generator=generator) * 2 - 1


def tags(path: Path) -> str:
    r"""What metadata ffmpeg reads from a file, in its own notation."""
    return ffmpeg('-i', path, '-f', 'ffmetadata', '-')
