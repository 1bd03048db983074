r"""Image to video, 14B: adds the CLIP encoder of the first frame."""
import torch
from easydict import EasyDict

from .wan_t2v_14B import t2v_14B

i2v_14B = EasyDict(
    t2v_14B,
    __name__='Config: Wan I2V 14B',
    sample_neg_prompt='镜头晃动，' + t2v_14B.sample_neg_prompt,
    clip_model='clip_xlm_roberta_vit_h_14',
    clip_dtype=torch.float16,
    clip_checkpoint='models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth',
    clip_tokenizer='xlm-roberta-large',
)
