r"""How the page looks: its theme, style sheet and script, all of its own."""
from pathlib import Path

import gradio as gr

HERE = Path(__file__).parent
CSS = (HERE / 'page.css').read_text('utf-8')
# What is around the page's content, where gradio's prefix keeps CSS out: the
# bar of buttons hides nothing that has the focus, and a phone has no margins.
FRAME = """html { scroll-padding-bottom: 84px }
@media (max-width: 899px) {
  .gradio-container .main.app { padding: 8px 0 !important }
}"""
# What browsers run of ours; nothing comes from elsewhere.
HEAD = f"""<meta name="referrer" content="no-referrer">
<style>{FRAME}</style>
<script>{(HERE / 'before_after.js').read_text('utf-8')}</script>
<script>{(HERE / 'stale.js').read_text('utf-8')}</script>"""


def theme() -> gr.themes.Base:
    r"""Warm grey and one green, in the fonts that the machine has."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        font=['system-ui', 'sans-serif'],
        font_mono=['ui-monospace', 'monospace'],
        radius_size=gr.themes.sizes.radius_lg,
    ).set(
        body_background_fill='#fbfaf8', body_background_fill_dark='#191816',
        block_background_fill='#ffffff', block_background_fill_dark='#211f1d',
        block_border_width='1px', block_shadow='none',
        block_label_text_color='*neutral_600',
        block_label_text_color_dark='*neutral_300',
        block_info_text_color='*neutral_600',
        block_info_text_color_dark='*neutral_300',
        button_primary_background_fill='*primary_700',
        button_primary_background_fill_hover='*primary_800',
        button_primary_background_fill_dark='*primary_600',
        button_primary_text_color='white',
        slider_color='*primary_700', slider_color_dark='*primary_400')
