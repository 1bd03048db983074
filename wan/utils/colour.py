r"""Colours of wide gamut and high dynamic range, brought to BT.709 or sRGB.

Numbers of primaries, transfers and matrices are those of ITU-T H.273. Light
is linear and relative to the white of a page, 203 nits in BT.2408.
"""
import numpy as np

BT709, UNTAGGED, BT2020, DCI_P3, DISPLAY_P3 = 1, 2, 9, 11, 12
ADOBE_RGB = -1  # which H.273 has no number for
GAMMA_22, SRGB, PQ, HLG = 4, 13, 16, 18
HDR = {PQ: 'PQ', HLG: 'HLG'}
WHITE, PEAK = 203.0, 1000.0  # nits of a page, and of HLG's display
KNEE = 0.9  # of white, where highlights begin to be compressed
DISPLAY_GAMMA = 2.4  # BT.1886

TO_709 = {
    BT2020: ((1.660491, -0.587641, -0.072850),
             (-0.124550, 1.132900, -0.008349),
             (-0.018151, -0.100579, 1.118730)),
    DISPLAY_P3: ((1.224940, -0.224940, 0.0),
                 (-0.042057, 1.042057, 0.0),
                 (-0.019638, -0.078636, 1.098274)),
    ADOBE_RGB: ((1.398357, -0.398357, 0.0),
                (0.0, 1.0, 0.0),
                (0.0, -0.042929, 1.042929)),
}
TO_709[DCI_P3] = TO_709[DISPLAY_P3]
GAMUTS = {BT2020: 'BT.2020', DCI_P3: 'P3', DISPLAY_P3: 'P3',
          ADOBE_RGB: 'Adobe RGB'}

# Transfers that are a display's gamma, near enough to one another, and
# matrices that ffmpeg's scaler knows.
DISPLAYED = {1, 2, 4, 5, 6, 7, 11, 12, 13, 14, 15, *HDR}
MATRICES = {0, 1, 2, 4, 5, 6, 7, 9}


def gamut_of(primaries: int, transfer: int) -> int:
    r"""The primaries meant: HDR that names none has those of BT.2020."""
    if transfer in HDR and primaries == UNTAGGED:
        return BT2020
    return primaries


def converted(primaries: int, transfer: int) -> str | None:
    r"""What `to_bt709` does with such colours, in words; None for nothing."""
    gamut = gamut_of(primaries, transfer)
    if transfer in HDR:
        return (f'HDR ({HDR[transfer]}) and are brought to SDR, with white at '
                f'{WHITE:.0f} nits and brighter light compressed')
    if gamut in TO_709:
        return f'{GAMUTS[gamut]} and are brought to BT.709'
    return None


def to_bt709(
    rgb: np.ndarray, primaries: int, transfer: int, still: bool = False,
) -> np.ndarray:
    r"""Colours of any gamut and range as SDR ones of BT.709.

    Within BT.709 and below 90 % of white, colours stay what they are. What is
    brighter is compressed, its hue kept; what is more saturated is cut off.

    Args:
        rgb: [..., 3] in [0, 1], as coded.
        still: the result has the curve of sRGB, not that of a video display.

    Returns:
        float32 [..., 3] in [0, 1].
    """
    light = _light(np.asarray(rgb, np.float32), transfer)
    gamut = gamut_of(primaries, transfer)
    if gamut in TO_709:
        light = light @ np.array(TO_709[gamut], np.float32).T
    light = light.clip(0)
    if transfer in HDR:
        most = light.max(-1, keepdims=True).clip(1e-6)
        light *= _compressed(most) / most
    light = light.clip(0, 1)
    if still or transfer == SRGB:
        return np.where(light <= 0.0031308, 12.92 * light,
                        1.055 * light ** (1 / 2.4) - 0.055)
    return light ** (1 / DISPLAY_GAMMA)


def from_bt709(
    rgb: np.ndarray, primaries: int, transfer: int,
) -> np.ndarray:
    r"""SDR colours of BT.709 coded in another gamut and range.

    The way back of `to_bt709`: colours that it has not cut off come out as
    they went in.

    Args:
        rgb: [..., 3] in [0, 1].

    Returns:
        float32 [..., 3] in [0, 1], as coded.
    """
    rgb = np.asarray(rgb, np.float32).clip(0, 1)
    light = _light(rgb, SRGB) if transfer == SRGB else rgb ** DISPLAY_GAMMA
    if transfer in HDR:
        most = light.max(-1, keepdims=True).clip(1e-6)
        light = light * (_expanded(most) / most)
    gamut = gamut_of(primaries, transfer)
    if gamut in TO_709:
        back = np.linalg.inv(np.array(TO_709[gamut])).astype(np.float32)
        light = light @ back.T
    return _code(light.clip(0), transfer).clip(0, 1).astype(np.float32)


def _code(light: np.ndarray, transfer: int) -> np.ndarray:
    r"""The inverse of `_light`."""
    if transfer == PQ:
        power = (light * (WHITE / 10_000)) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)
                ) ** 78.84375
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = (light * (WHITE / PEAK)) ** (1 / 1.2)
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene),
                        a * np.log((12 * scene - b).clip(1e-6)) + c)
    if transfer == SRGB:
        return np.where(light <= 0.0031308, 12.92 * light,
                        1.055 * light ** (1 / 2.4) - 0.055)
    return light ** (1 / (2.2 if transfer == GAMMA_22 else DISPLAY_GAMMA))


def _light(rgb: np.ndarray, transfer: int) -> np.ndarray:
    if transfer == PQ:  # SMPTE ST 2084
        power = rgb ** (1 / 78.84375)
        light = (power - 0.8359375).clip(0) / (18.8515625 - 18.6875 * power)
        return light ** (1 / 0.1593017578125) * (10_000 / WHITE)
    if transfer == HLG:  # BT.2100, on a display of 1000 nits
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(
            rgb <= 0.5, rgb ** 2 / 3, (np.exp((rgb - c) / a) + b) / 12)
        # Its gamma of 1.2 by channel, as zimg and SDR cameras have it, not on
        # luminance, which leaves saturated colours paler.
        return scene ** 1.2 * (PEAK / WHITE)
    if transfer == SRGB:
        return np.where(rgb <= 0.04045, rgb / 12.92,
                        ((rgb + 0.055) / 1.055) ** 2.4)
    return rgb ** (2.2 if transfer == GAMMA_22 else DISPLAY_GAMMA)


def _compressed(light: np.ndarray) -> np.ndarray:
    r"""Reinhard's curve above the knee: 1 to 1 below, the peak becomes 1."""
    over = (light - KNEE).clip(0) / (1 - KNEE)
    most = (PEAK / WHITE - KNEE) / (1 - KNEE)
    bent = KNEE + (1 - KNEE) * over * (1 + over / most ** 2) / (1 + over)
    return np.where(light > KNEE, bent, light)


def _expanded(bent: np.ndarray) -> np.ndarray:
    r"""The inverse of `_compressed`, for light up to 1."""
    share = (bent - KNEE).clip(0) / (1 - KNEE)
    most = (PEAK / WHITE - KNEE) / (1 - KNEE)
    half = (1 - share) / 2
    over = most * (np.sqrt((most * half) ** 2 + share) - most * half)
    return np.where(bent > KNEE, KNEE + over * (1 - KNEE), bent)
