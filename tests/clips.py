r"""Clips that look filmed, and what is in a file, told without our readers."""
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

from tests.utils.media import ffmpeg

TAGS = ('setparams=range=tv:colorspace=bt709:color_primaries=bt709'
        ':color_trc=bt709')
# How a camera is held that calls for a tag.
TURNS = {0: 'null', 90: 'transpose=clock', 180: 'hflip,vflip',
         270: 'transpose=cclock'}


def filmed_clip(
    path: Path,
    size: tuple[int, int] = (320, 180),
    frames: int = 48,
    rotation: int = 90,
    rate: str = '30000/1001',
) -> Path:
    r"""A lit bottle on a table before a wall, as a phone held by hand has it.

    Drawn with shading and a shadow, then blur, shake, noise, H.264 with
    B-frames and limited range of BT.709, stereo AAC and a tag of rotation.

    Args:
        path: ending in .mp4 or .mov.
        size: (width, height) as coded, before rotation.
        rotation: degrees of the tag, counterclockwise, in quarters. What is
            shown is upright.
    """
    width, height = size[::-1] if rotation % 180 else size
    wide, tall = width * 5 // 4 // 2 * 2, height * 5 // 4 // 2 * 2
    # Light falls from the left on a round body; the floor recedes.
    body = 'lt(abs(X/W-.5-.02*sin(T)),.11)*between(Y/H,.3,.8)'
    round_ = '(1-pow((X/W-.47-.02*sin(T))/.13,2))'
    floor = 'gt(Y/H,.7)'
    shadow = ('lt(pow((X/W-.6)/.2,2)+pow((Y/H-.82)/.05,2),1)')
    luma = (f'if({body},40+150*{round_},if({floor},110+70*(Y/H-.7)/.3'
            f'-45*{shadow}+6*mod(floor(X/24)+floor(Y/(4+20*(Y/H-.7))),2),'
            '150-50*X/W+12*sin(X/17)*sin(Y/13)))')
    scene = (f'color=s={wide}x{tall}:r={rate},format=yuv444p,geq='
             f"lum='{luma}':cb='if({body},95,if({floor},118,132))'"
             f":cr='if({body},175,if({floor},138,124))'")
    camera = (f"gblur=sigma=0.6,crop={width}:{height}:"
              f"x='(in_w-out_w)/2+{width / 60:.2f}*sin(n/5)+2*sin(n*1.7)'"
              f":y='(in_h-out_h)/2+{height / 60:.2f}*cos(n/7)+cos(n*2.1)'"
              f',noise=alls=7:allf=t,format=yuv420p,{TURNS[rotation]},{TAGS}')
    flat = path.with_name(f'flat_{path.name}') if rotation else path
    ffmpeg('-f', 'lavfi', '-i', f'{scene},{camera}', '-f', 'lavfi', '-i',
           "aevalsrc='.3*sin(440*2*PI*t)|.3*sin(550*2*PI*t)'", '-frames:v',
           frames, '-shortest', '-c:v', 'libx264', '-crf', 17, '-bf', 3,
           '-preset', 'veryfast', '-c:a', 'aac', flat)
    if rotation:
        ffmpeg('-display_rotation', rotation, '-i', flat, '-c', 'copy', path)
        flat.unlink()
    return path


def raw(path: Path) -> bytes:
    r"""All planes of all frames as they are coded."""
    return subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), '-nostdin', '-v', 'error',
         '-noautorotate', '-i', str(path), '-map', '0:v:0', '-fps_mode',
         'passthrough', '-f', 'rawvideo', '-'],
        check=True, capture_output=True).stdout


def packets(path: Path, kind: str) -> list[list[bytes]]:
    r"""The packets of each stream of a kind, 'audio' or 'subtitle'."""
    with av.open(str(path)) as file:
        found = {s.index: [] for s in file.streams if s.type == kind}
        for packet in file.demux(*(file.streams[i] for i in found)):
            if packet.size:
                found[packet.stream.index].append(bytes(packet))
    return list(found.values())


def starts(path: Path, kind: str) -> list[float]:
    r"""Seconds of all packets or, of 'video', frames of a file's stream."""
    with av.open(str(path)) as file:
        stream = next(s for s in file.streams if s.type == kind)
        if kind == 'video':
            return [float(f.pts * f.time_base) for f in file.decode(stream)]
        return [float(p.pts * p.time_base) for p in file.demux(stream)
                if p.size]


def told(path: Path) -> dict:
    r"""What a file says of its picture."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frame = next(file.decode(stream))
        matrix = [bytes(d)[:20] for d in frame.side_data
                  if d.type.name == 'DISPLAYMATRIX']
        return {
            'size': (frame.width, frame.height), 'pixels': frame.format.name,
            'range': int(frame.color_range), 'matrix': int(frame.colorspace),
            'primaries': int(frame.color_primaries),
            'transfer': int(frame.color_trc), 'display': matrix,
            'aspect': stream.sample_aspect_ratio or 1}


def planes(data: bytes, width: int, height: int, sx=1, sy=1, deep=False):
    r"""Raw bytes as planes [T, H, W] of luma and twice chroma."""
    values = np.frombuffer(data, '<u2' if deep else 'u1')
    shapes = [(height, width), *[(-(-height >> sy), -(-width >> sx))] * 2]
    each = sum(h * w for h, w in shapes)
    values = values.reshape(-1, each)
    found, at = [], 0
    for h, w in shapes:
        found.append(values[:, at:at + h * w].reshape(-1, h, w))
        at += h * w
    return found
