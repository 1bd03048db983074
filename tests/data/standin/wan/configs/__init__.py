import torch
from easydict import EasyDict

t2v_14B = EasyDict(
    __name__="a toy", t5_checkpoint="text.json", t5_tokenizer="tokenizer",
    vae_checkpoint="vae.json", t5_dtype=torch.float32, text_len=32,
    param_dtype=torch.bfloat16, num_train_timesteps=1000, sample_fps=16,
    sample_neg_prompt="grey", vae_stride=(4, 8, 8), patch_size=(1, 2, 2),
    num_heads=4)

WAN_CONFIGS = {"t2v-14B": t2v_14B}
SIZE_CONFIGS = {"64*64": (64, 64), "128*64": (128, 64)}
SUPPORTED_SIZES = {"t2v-14B": ("64*64",)}
