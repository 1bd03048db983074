r"""Small images, and runs of the tasks that begin with one."""
from pathlib import Path

import torch
from PIL import Image

# The model type of each task.
TYPES = {'i2v-14B': 'i2v', 'flf2v-14B': 'flf2v'}


def make_pictures(folder: Path) -> Path:
    r"""Images, and what is none, by name."""
    noise = torch.Generator().manual_seed(0)
    for name, size in (('wide', (96, 48)), ('other', (96, 48)),
                       ('tall', (40, 80)), ('fitting', (832, 464))):
        pixels = torch.rand(size[1], size[0], 3, generator=noise) * 255
        Image.fromarray(pixels.byte().numpy()).save(folder / f'{name}.png')
    Image.new('RGBA', (96, 48), (255, 0, 0, 0)).save(folder / 'clear.png')
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new('RGB', (48, 96), 'red').save(folder / 'turned.jpg', exif=turned)
    Image.new('RGB', (2100, 100)).save(folder / 'band.png')
    (folder / 'text.png').write_text('no picture')
    return folder


def image_flags(task, ckpt_dir, pictures, save_file, *more) -> list[str]:
    r"""A short run at an official size; later flags override."""
    given = {'i2v-14B': ('--image', pictures / 'wide.png'),
             'flf2v-14B': ('--first_frame', pictures / 'wide.png',
                           '--last_frame', pictures / 'other.png')}
    return [str(flag) for flag in (
        '--task', task, '--ckpt_dir', ckpt_dir, '--size', '832*480',
        '--frame_num', 5, '--sample_steps', 1, '--prompt', 'a red vase',
        '--base_seed', 1, *given[task], '--save_file', save_file, *more)]
