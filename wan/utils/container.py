r"""What a media file holds, as JSON; a program of its own that reads it.

`wan.utils.ffmpeg.read_facts` runs this file by path, with a time limit: what
a crafted file does to the libraries that read it ends here. Of the file only
the header, the first picture and the first sound are read.

    python container.py PATH CONTAINERS MAX_PIXELS
"""
import json
import struct
import sys

if __name__ == '__main__':
    del sys.path[0]  # our own folder, whose names are not for others

import av

PACKETS = 200  # in which the first picture or sound must come
BYTES = 2**33  # of memory, where the system can limit it


def facts(path: str, containers: str, pixels: str) -> dict:
    r"""Facts of a file, or `{'error': reason}` if it is none to read.

    `video` and `audio` are those of the stream that counts, or None: the
    first that the file calls default, else the first. `others` are streams
    beside it, `streams` all that there are; times are in seconds, colours
    the numbers of ITU-T H.273.
    """
    options = {'protocol_whitelist': 'file', 'format_whitelist': containers,
               'max_pixels': pixels}
    try:
        with _opened(path, options) as file:
            duration = file.duration
            found = {
                'format': file.format.name,
                'duration': duration and max(0, duration / av.time_base),
                'start': (file.start_time or 0) / av.time_base,
                'streams': [_stream(stream) for stream in file.streams],
                'video': None, 'audio': None}
            place, others = _chosen(file.streams.video)
            sound, sounds = _chosen(file.streams.audio)
            if place is not None:
                found['video'] = {'index': place, 'others': others, **_video(
                    file, file.streams[place], int(pixels))}
        if sound is not None:
            with _opened(path, options) as file:
                found['audio'] = {'index': sound, 'others': sounds, **_audio(
                    file, file.streams[sound])}
    except (av.FFmpegError, OSError, MemoryError) as error:
        return {'error': _words(error)}
    return found


def _opened(path, options):
    # Tags may be in any encoding; no more is asked of them than to be there.
    return av.open(f'file:{path}', options=options, metadata_errors='replace')


def _chosen(streams) -> tuple[int | None, int]:
    r"""Index of the stream that counts, and how many others there are."""
    kinds = av.stream.Disposition
    hidden = kinds.attached_pic | kinds.timed_thumbnails | kinds.dependent
    shown = [s for s in streams if not s.disposition & hidden]
    counts = [s for s in shown if s.disposition & kinds.default] or shown
    return (counts[0].index, len(shown) - 1) if counts else (None, 0)


def _stream(stream) -> dict:
    context = stream.codec_context
    return {'index': stream.index, 'kind': stream.type,
            'codec': context.codec.canonical_name if context else None}


def _video(file, stream, pixels: int) -> dict:
    context = stream.codec_context
    if context is None:
        return {'fault': 'its codec is unknown'}
    found = {
        'codec': context.codec.canonical_name,
        'width': context.width, 'height': context.height,
        'rate': _number(stream.average_rate),
        'guessed_rate': _number(stream.guessed_rate or stream.base_rate),
        # Other decoders see the alpha of VP8 and VP9 as a stream beside.
        'beside': {k.lower(): v for k, v in stream.metadata.items()}.get(
            'alpha_mode') == '1'}
    if context.width * context.height > pixels:
        return found
    frame, found['fault'] = _first(file, stream)
    if frame is None:
        return found
    start = frame.pts
    if 'avi' in file.format.name:  # it has no times, decoders make them up
        start = stream.start_time
    return found | {
        'width': frame.width, 'height': frame.height,
        'aspect': _number(stream.sample_aspect_ratio) or 1,
        'rotation': frame.rotation, 'turn': _turn(frame),
        'pixels': frame.format.name, 'interlaced': frame.interlaced_frame,
        'base': [stream.time_base.numerator, stream.time_base.denominator],
        'start': float((start or 0) * stream.time_base),
        'rgb': frame.format.is_rgb or frame.format.has_palette,
        'grey': len(frame.format.components) < 3,
        'alpha': found['beside'] or any(
            part.is_alpha for part in frame.format.components),
        'matrix': int(frame.colorspace), 'range': int(frame.color_range),
        'primaries': int(frame.color_primaries),
        'transfer': int(frame.color_trc), 'tag': context.codec_tag}


def _turn(frame) -> list[bool] | None:
    r"""How it is shown: rows become columns, then x and then y reversed.

    None if it is turned by something else than quarters.
    """
    for data in frame.side_data:
        if data.type.name == 'DISPLAYMATRIX':
            a, b, _, c, d = struct.unpack_from('5i', bytes(data))
            if (a, d) == (0, 0):
                return [True, c < 0, b < 0]
            return [False, a < 0, d < 0] if (b, c) == (0, 0) else None
    return [False, False, False]


def _audio(file, stream) -> dict:
    context = stream.codec_context
    if context is None:
        return {'codec': 'unknown', 'fault': 'its codec is unknown'}
    frame, fault = _first(file, stream)
    start = frame and frame.pts is not None and float(
        frame.pts * frame.time_base)
    return {'codec': context.codec.canonical_name,
            'start': start or 0, 'fault': fault}


def _first(file, stream) -> tuple:
    r"""The first frame of a stream, and why there is none."""
    fault, count = None, 0
    for other in file.streams:
        if other.index != stream.index:
            other.discard = av.stream.Discard.all
    for packet in file.demux(stream):
        count += packet.size > 0
        try:
            for frame in packet.decode():
                return frame, None
        except av.FFmpegError as error:
            fault = _words(error)
        if count >= PACKETS:
            break
    return None, fault or (
        'none of its packets decodes' if count else 'it holds no packets')


def _number(rate) -> float | None:
    return float(rate) if rate else None


def _words(error) -> str:
    return getattr(error, 'strerror', None) or type(error).__name__


def main() -> None:
    r"""Print the facts of the file named by the first argument."""
    av.logging.set_level(av.logging.PANIC)
    try:
        import resource  # not there on Windows
        resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    except (ImportError, ValueError, OSError):
        pass
    print(json.dumps(facts(*sys.argv[1:])))


if __name__ == '__main__':
    main()
