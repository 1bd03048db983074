r"""Small random networks of `transformers`, saved as a user's would be."""
import json

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

SIDE = 128
WORDS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '.', 'a', 'red', 'watch', 'cup']


def tokenizer(folder):
    r"""One token a word, in `folder`."""
    words = Tokenizer(models.WordLevel(
        {word: i for i, word in enumerate(WORDS)}, unk_token='[UNK]'))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token='[PAD]', unk_token='[UNK]',
        cls_token='[CLS]', sep_token='[SEP]').save_pretrained(folder)


def save(network, folder, size=None):
    r"""A network with a word that its picture has another size."""
    network.eval().save_pretrained(folder)
    if size is not None:
        (folder / 'preprocessor_config.json').write_text(json.dumps(
            {'size': {'height': size, 'width': size}}))
    return folder


def tracking(config, hidden=128, **own):
    r"""The settings that SAM 2 and EdgeTAM share."""
    cells = SIDE // 16
    return config(
        prompt_encoder_config={
            'hidden_size': hidden, 'image_size': SIDE, 'patch_size': 16},
        mask_decoder_config={
            'hidden_size': hidden, 'mlp_dim': 32, 'num_attention_heads': 2,
            'iou_head_hidden_dim': 32},
        image_size=SIDE, memory_attention_hidden_size=hidden,
        memory_attention_num_layers=1, memory_encoder_hidden_size=hidden,
        memory_encoder_output_channels=64, mask_downsampler_embed_dim=hidden,
        memory_fuser_num_layers=1, memory_fuser_embed_dim=hidden,
        memory_fuser_intermediate_dim=32,
        memory_attention_rope_feat_sizes=[cells, cells], **own)


def vision(width=16, hidden=128):
    r"""Also of the tiny EdgeTAM, whose own needs a further package."""
    cells = SIDE // 16
    return {
        'model_type': 'sam2_vision_model',
        'backbone_channel_list': [width << i for i in (3, 2, 1, 0)],
        'fpn_hidden_size': hidden,
        'backbone_feature_sizes': [
            [4 * cells] * 2, [2 * cells] * 2, [cells] * 2],
        'backbone_config': {
            'model_type': 'sam2_hiera_det_model', 'hidden_size': width,
            'image_size': [SIDE, SIDE], 'blocks_per_stage': [1, 1, 2, 1],
            'embed_dim_per_stage': [width << i for i in range(4)],
            'num_attention_heads_per_stage': [1, 1, 1, 1],
            'window_size_per_stage': [4, 4, 4, 4],
            'global_attention_blocks': [3]}}


def sam2(folder):
    torch.manual_seed(0)
    config = tracking(
        transformers.Sam2VideoConfig,
        vision_config=vision(),
        memory_attention_feed_forward_hidden_size=32)
    return save(transformers.Sam2VideoModel(config), folder)


def edgetam(folder):
    torch.manual_seed(0)
    config = tracking(
        transformers.EdgeTamVideoConfig,
        vision_config=vision(),
        memory_attention_mlp_hidden_size=32,
        memory_attention_rope_k_sizes=[4, 4],
        perceiver_resampler_num_latents=16,
        perceiver_resampler_num_latents_2d=16,
        perceiver_resampler_hidden_size=64,
        perceiver_resampler_attention_head_dim=64,
        perceiver_resampler_mlp_intermediate_size=32)
    return save(transformers.EdgeTamVideoModel(config), folder)


def text(**own):
    return {'vocab_size': len(WORDS), 'hidden_size': 32,
            'intermediate_size': 32, 'num_hidden_layers': 1,
            'num_attention_heads': 2, **own}


def sam3(folder):
    torch.manual_seed(0)
    part = {'hidden_size': 32, 'num_layers': 1, 'num_attention_heads': 2,
            'intermediate_size': 32}
    config = transformers.Sam3Config(
        vision_config={
            'model_type': 'sam3_vision_model', 'fpn_hidden_size': 32,
            'backbone_feature_sizes': [[32, 32], [16, 16], [8, 8]],
            'backbone_config': {
                'model_type': 'sam3_vit_model', 'hidden_size': 32,
                'intermediate_size': 32, 'num_hidden_layers': 1,
                'num_attention_heads': 2, 'image_size': 112,
                'pretrain_image_size': 56, 'window_size': 4,
                'global_attn_indexes': [0]}},
        text_config=text(
            model_type='clip_text_model', max_position_embeddings=32,
            projection_dim=32, eos_token_id=3),
        geometry_encoder_config=part, detr_encoder_config=part,
        detr_decoder_config={**part, 'num_queries': 6},
        mask_decoder_config={'hidden_size': 32, 'num_attention_heads': 2})
    tokenizer(folder)
    return save(transformers.Sam3Model(config), folder)


def clipseg(folder):
    torch.manual_seed(0)
    config = transformers.CLIPSegConfig(
        text_config=text(
            max_position_embeddings=8, eos_token_id=3, bos_token_id=2,
            pad_token_id=0),
        vision_config={
            'hidden_size': 32, 'intermediate_size': 32,
            'num_hidden_layers': 4, 'num_attention_heads': 2,
            'image_size': 32, 'patch_size': 16},
        projection_dim=16, extract_layers=[1, 2, 3], reduce_dim=16,
        decoder_num_attention_heads=2, decoder_intermediate_size=32)
    tokenizer(folder)
    return save(
        transformers.CLIPSegForImageSegmentation(config), folder, SIDE)


def dino(folder):
    torch.manual_seed(0)
    config = transformers.GroundingDinoConfig(
        backbone_config={
            'model_type': 'swin', 'embed_dim': 8, 'depths': [1, 1, 1, 1],
            'num_heads': [1, 1, 2, 2], 'window_size': 4, 'image_size': 64,
            'out_indices': [2, 3, 4]},
        text_config=text(model_type='bert', max_position_embeddings=64),
        num_queries=6, encoder_layers=1, decoder_layers=2, d_model=32,
        encoder_ffn_dim=32, decoder_ffn_dim=32, encoder_attention_heads=2,
        decoder_attention_heads=2, max_text_len=16,
        disable_custom_kernels=True)
    tokenizer(folder)
    return save(
        transformers.GroundingDinoForObjectDetection(config), folder)
