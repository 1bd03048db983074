r"""The transformer against diffusers' own, with random weights."""
import pytest
import torch
from diffusers import WanTransformer3DModel

from tests.goldens import relative_error
from wan.modules.model import WanModel

HEADS, HEAD_DIM, LAYERS, FFN = 3, 24, 2, 80
TEXT_DIM, FREQ_DIM, TOKENS = 20, 32, 512

# ours: theirs
PARTS = {
    'patch_embedding': 'patch_embedding',
    'text_embedding.0': 'condition_embedder.text_embedder.linear_1',
    'text_embedding.2': 'condition_embedder.text_embedder.linear_2',
    'time_embedding.0': 'condition_embedder.time_embedder.linear_1',
    'time_embedding.2': 'condition_embedder.time_embedder.linear_2',
    'time_projection.1': 'condition_embedder.time_proj',
    'img_emb.proj.0': 'condition_embedder.image_embedder.norm1',
    'img_emb.proj.1': 'condition_embedder.image_embedder.ff.net.0.proj',
    'img_emb.proj.3': 'condition_embedder.image_embedder.ff.net.2',
    'img_emb.proj.4': 'condition_embedder.image_embedder.norm2',
    'img_emb.emb_pos': 'condition_embedder.image_embedder.pos_embed',
    'head.head': 'proj_out',
    'head.modulation': 'scale_shift_table',
}
BLOCK_PARTS = {
    'norm3': 'norm2',
    'ffn.0': 'ffn.net.0.proj',
    'ffn.2': 'ffn.net.2',
    'modulation': 'scale_shift_table',
}
ATTENTIONS = {'self_attn': 'attn1', 'cross_attn': 'attn2'}
ATTENTION_PARTS = {
    'q': 'to_q', 'k': 'to_k', 'v': 'to_v', 'o': 'to_out.0',
    'norm_q': 'norm_q', 'norm_k': 'norm_k', 'k_img': 'add_k_proj',
    'v_img': 'add_v_proj', 'norm_k_img': 'norm_added_k',
}


def our_keys(theirs, rows=(('blocks', LAYERS),), more=()):
    r"""Diffusers' state dict under our names.

    `rows` are the lists of blocks with their lengths, `more` further parts.
    """
    block = BLOCK_PARTS | {
        f'{a}.{p}': f'{b}.{r}' for a, b in ATTENTIONS.items()
        for p, r in ATTENTION_PARTS.items()}
    parts = PARTS | dict(more) | {
        f'{row}.{i}.{a}': f'{row}.{i}.{b}' for row, depth in rows
        for i in range(depth) for a, b in block.items()}
    names = {b: a for a, b in parts.items()}
    renamed = {}
    for key, value in theirs.items():
        part, _, leaf = key.rpartition('.')
        renamed[f'{names[part]}.{leaf}' if part in names else names[key]] = \
            value
    return renamed


@pytest.mark.parametrize('kind', ('t2v', 'i2v', 'flf2v'))
def test_same_numbers(kind, parity):
    image = kind != 't2v'
    width = HEADS * HEAD_DIM
    torch.manual_seed(0)
    theirs = WanTransformer3DModel(
        num_attention_heads=HEADS, attention_head_dim=HEAD_DIM,
        in_channels=36 if image else 16, text_dim=TEXT_DIM,
        freq_dim=FREQ_DIM, ffn_dim=FFN, num_layers=LAYERS,
        image_dim=1280 if image else None,
        added_kv_proj_dim=width if image else None,
        pos_embed_seq_len=514 if kind == 'flf2v' else None).eval()
    for parameter in theirs.parameters():
        parameter.add_(torch.randn_like(parameter) * .05)
    with torch.device('meta'):
        ours = WanModel(
            model_type=kind, in_dim=36 if image else 16, dim=width,
            ffn_dim=FFN, freq_dim=FREQ_DIM, text_dim=TEXT_DIM,
            num_heads=HEADS, num_layers=LAYERS)
    ours.load_state_dict(our_keys(theirs.state_dict()), assign=True)

    x = torch.randn(2, 16, 3, 6, 10)
    y = torch.randn(2, 20, 3, 6, 10) if image else None
    text = torch.randn(2, TOKENS, TEXT_DIM)
    text[1, 9:] = 0
    t = torch.tensor([999., 12.5])
    images = {'t2v': 0, 'i2v': 2, 'flf2v': 4}[kind]
    clip = torch.randn(images, 257, 1280) if images else None
    want = theirs(
        torch.cat([x, y], dim=1) if image else x, t, text, clip).sample
    got = ours(list(x), t, [text[0], text[1, :9]], 45, clip, y)
    parity(f'dit {kind} against diffusers', relative_error(
        torch.stack(got), want))
