import argparse
import random
import sys

import wan
from wan.configs import SIZE_CONFIGS, SUPPORTED_SIZES, WAN_CONFIGS
from wan.utils.utils import cache_video, str2bool

EXAMPLE_PROMPT = {
    "t2v-14B": {
        "prompt": "a red vase on a table",
    },
}


def _validate_args(args):
    assert args.ckpt_dir is not None, "there is no checkpoint"
    assert args.task in WAN_CONFIGS, f"unknown task {args.task}"
    assert args.task in EXAMPLE_PROMPT, f"unknown task {args.task}"
    if args.sample_steps is None:
        args.sample_steps = 50
    if args.sample_shift is None:
        args.sample_shift = 5.0
    if args.frame_num is None:
        args.frame_num = 81
    if args.base_seed < 0:
        args.base_seed = random.randint(0, sys.maxsize)
    assert args.size in SUPPORTED_SIZES[args.task], f"bad size {args.size}"


def _parse_args():
    parser = argparse.ArgumentParser(description="A stand-in.")
    parser.add_argument(
        "--task", type=str, default="t2v-14B",
        choices=list(WAN_CONFIGS.keys()))
    parser.add_argument(
        "--size", type=str, default="64*64",
        choices=list(SIZE_CONFIGS.keys()))
    parser.add_argument("--frame_num", type=int, default=None)
    parser.add_argument("--ckpt_dir", type=str, default=None)
    parser.add_argument("--offload_model", type=str2bool, default=None)
    parser.add_argument("--ulysses_size", type=int, default=1)
    parser.add_argument("--ring_size", type=int, default=1)
    parser.add_argument("--t5_fsdp", action="store_true", default=False)
    parser.add_argument("--t5_cpu", action="store_true", default=False)
    parser.add_argument("--dit_fsdp", action="store_true", default=False)
    parser.add_argument("--save_file", type=str, default=None)
    parser.add_argument("--src_video", type=str, default=None)
    parser.add_argument("--src_mask", type=str, default=None)
    parser.add_argument("--src_ref_images", type=str, default=None)
    parser.add_argument("--prompt", type=str, default=None)
    parser.add_argument(
        "--use_prompt_extend", action="store_true", default=False)
    parser.add_argument("--base_seed", type=int, default=-1)
    parser.add_argument("--image", type=str, default=None)
    parser.add_argument("--first_frame", type=str, default=None)
    parser.add_argument("--last_frame", type=str, default=None)
    parser.add_argument(
        "--sample_solver", type=str, default="unipc",
        choices=["unipc", "dpm++"])
    parser.add_argument("--sample_steps", type=int, default=None)
    parser.add_argument("--sample_shift", type=float, default=None)
    parser.add_argument("--sample_guide_scale", type=float, default=5.0)

    args = parser.parse_args()

    _validate_args(args)

    return args


def generate(args):
    cfg = WAN_CONFIGS[args.task]
    if args.offload_model is None:
        args.offload_model = True

    if "t2v" in args.task or "t2i" in args.task:
        if args.prompt is None:
            args.prompt = EXAMPLE_PROMPT[args.task]["prompt"]

        wan_t2v = wan.WanT2V(config=cfg, checkpoint_dir=args.ckpt_dir)

        video = wan_t2v.generate(
            args.prompt,
            size=SIZE_CONFIGS[args.size],
            seed=args.base_seed)
    elif "i2v" in args.task:
        raise NotImplementedError
    else:
        raise ValueError(f"unknown task {args.task}")

    if args.save_file is None:
        args.save_file = args.prompt.replace(" ", "_")[:50] + ".mp4"
    cache_video(
        tensor=video[None],
        save_file=args.save_file,
        fps=cfg.sample_fps,
        nrow=1,
        normalize=True,
        value_range=(-1, 1))


if __name__ == "__main__":
    args = _parse_args()
    generate(args)
