r"""Small templates, photos and masks, and edits of them."""
from pathlib import Path

from PIL import Image, ImageDraw

from tests.utils.media import make_clip

SOURCE, TARGET = 'a red vase on a table', 'a gold watch on a table'
AUDIO = ('-f', 'lavfi', '-i', 'sine=d=2')
# The quickest edit: neither photo nor mask nor further files.
PLAIN = ('--use_reference', 'false', '--use_mask', 'false',
         '--save_comparison', 'false', '--measure', 'false')


def draw(mode='RGB', size=(64, 48), ground='white', colour='red'):
    r"""A photo of an ellipse."""
    image = Image.new(mode, size, ground)
    ImageDraw.Draw(image).ellipse((16, 12, 48, 36), fill=colour)
    return image


def make_media(folder: Path) -> Path:
    r"""A template, photos and masks, by name."""
    make_clip(folder / 'clip.mp4', '-c:a', 'aac', inputs=AUDIO,
              source='testsrc=s=128x128:r=16:d=0.5')
    draw().save(folder / 'plain.png')
    draw('RGBA', ground=(0, 0, 0, 0)).save(folder / 'cut.png')
    draw('L', ground=0, colour=255).save(folder / 'mask.png')
    box = Image.new('L', (128, 128))
    box.paste(255, (32, 32, 96, 96))
    box.save(folder / 'box.png')
    return folder


def edit_flags(ckpt_dir, media, save_file, *more) -> list[str]:
    r"""A small edit of one frame inside a box; later flags override."""
    photo = () if '--target_image' in more else (
        '--target_image', media / 'cut.png')
    return [str(flag) for flag in (
        '--task', 'pvtt', '--ckpt_dir', ckpt_dir, '--output', 'model',
        '--frame_num', 1,
        '--src_video', media / 'clip.mp4', *photo,
        '--source_prompt', SOURCE, '--target_prompt', TARGET,
        '--src_mask', media / 'box.png', '--sample_steps', 3,
        '--base_seed', 1, '--save_comparison', 'false', '--save_file',
        save_file, *more)]
