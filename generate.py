r"""Command line of Wan2.1: flags to a checked job, the job to wan.tasks."""
import argparse
import sys
from collections.abc import Sequence

from wan import tasks
from wan.configs import SIZE_CONFIGS, WAN_CONFIGS
from wan.edit_config import EditConfig
from wan.experiments.files import experiment_flags
from wan.jobs.checks import DTYPES
from wan.modules.attention import BACKENDS
from wan.refdrop.config import PRESETS, RefConfig
from wan.samplers import SOLVERS
from wan.utils.flags import add_flags
from wan.utils.program import Parser, run_program
from wan.utils.utils import str2bool

EXAMPLE_PROMPT = {
    name: {'prompt': tasks.defaults(name, WAN_CONFIGS.get(name, {}))['prompt']}
    for name in tasks.task_names()
}


def build_parser() -> argparse.ArgumentParser:
    r"""Every flag, its type and default; errors are raised as ValueError."""
    parser = Parser(
        description='Generate or edit a video with a Wan2.1 checkpoint.')
    _add_job(parser)
    _add_sampling(parser)
    _add_edit(parser)
    _add_extension(parser)
    _add_machine(parser)
    parser.add_argument(
        '--dry_run', action='store_true',
        help='check everything, print the plan and stop')
    return parser


def _add_job(parser: argparse.ArgumentParser) -> None:
    job = parser.add_argument_group('what to make')
    job.add_argument(
        '--task', default='t2v-14B', choices=tasks.task_names(),
        help='task and model (default: %(default)s)')
    job.add_argument(
        '--size', choices=list(SIZE_CONFIGS),
        help='width*height in pixels (default: 1280*720 or the widest the '
        'model has; pvtt: nearest to the template)')
    job.add_argument(
        '--frame_num', type=int,
        help="frames, 4n + 1 (default: 81; t2v-tiny: 17; image: 1; pvtt: the "
        "template's, at most as many as the model makes)")
    job.add_argument('--prompt', help='what to show')
    job.add_argument(
        '--n_prompt', help="what not to show (default: the model's own)")
    job.add_argument(
        '--base_seed', type=int, default=-1,
        help='seed of the noise; negative draws one (default: %(default)s)')
    job.add_argument(
        '--save_file', help='where to write (default: a name made of the task,'
        ' size, seed, prompt and time)')


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    sampling = parser.add_argument_group('sampling')
    sampling.add_argument(
        '--sample_solver', default='unipc', choices=list(SOLVERS),
        help='(default: %(default)s)')
    sampling.add_argument(
        '--sample_steps', type=int,
        help='steps (default: 50; of the embedded model: 25)')
    sampling.add_argument(
        '--sample_shift', type=float,
        help='shift of the noise schedule (default: 5)')
    sampling.add_argument(
        '--sample_guide_scale', type=float,
        help='classifier-free guidance; 1 is without (default: 5; pvtt, from '
        'source to target prompt: 19.5)')


def _add_edit(parser: argparse.ArgumentParser) -> None:
    edit = parser.add_argument_group(
        'product video template transfer (--task pvtt)')
    edit.add_argument('--config', help='experiment file, see configs/pvtt')
    edit.add_argument('--src_video', help='the template')
    edit.add_argument(
        '--target_image', help='photos of the product, separated by commas')
    edit.add_argument(
        '--target_mask', help='masks of the photos, white is product '
        '(default: alpha channel or plain ground)')
    edit.add_argument('--source_prompt', help='describes the template')
    edit.add_argument(
        '--target_prompt', help='the same with the product of the photo')
    edit.add_argument(
        '--src_mask', help="video or image, white where the template's "
        'product is (default: found by the model)')
    edit.add_argument(
        '--source_blend', help='words of --source_prompt that name the '
        'product, to find the mask by')
    edit.add_argument(
        '--target_blend', help='the same of --target_prompt')
    edit.add_argument(
        '--use_mask', type=str2bool, default=True,
        help='edit and read the photo only where the product is '
        '(default: true)')
    edit.add_argument(
        '--use_reference', type=str2bool, default=True,
        help='read the photo; false edits by text alone (default: true)')
    edit.add_argument(
        '--fit', default='crop', choices=['crop', 'pad'],
        help='how the template gets to the size (default: %(default)s)')
    edit.add_argument(
        '--reverse', metavar='EDITED', help='an edited video from which to '
        'go back to the template')
    edit.add_argument(
        '--ref_preset', choices=list(PRESETS),
        help='settings of the reference; flags override it')
    edit.add_argument(
        '--ref_bank', help='file that keeps the photo as the model sees it, '
        'for further videos of the same product')
    edit.add_argument(
        '--save_comparison', type=str2bool, default=True,
        help='write template | photo | result as video and contact sheet '
        '(default: true)')
    for settings in (EditConfig, RefConfig):
        add_flags(edit, settings)


def _add_extension(parser: argparse.ArgumentParser) -> None:
    extension = parser.add_argument_group('prompt extension')
    extension.add_argument(
        '--use_prompt_extend', action='store_true',
        help='let a language model add detail to --prompt (not for pvtt)')
    extension.add_argument(
        '--prompt_extend_method', default='local_qwen',
        choices=['dashscope', 'local_qwen'],
        help='over the network, with DASH_API_KEY in the environment, or on '
        'this machine (default: %(default)s)')
    extension.add_argument(
        '--prompt_extend_model',
        help='of dashscope, a name (default: qwen-plus); of local_qwen, a '
        'folder, a hub id or a short name (default: Qwen2.5_14B)')
    extension.add_argument(
        '--prompt_extend_target_lang', default='zh', choices=['zh', 'en'],
        help='language of the extended prompt (default: %(default)s)')


def _add_machine(parser: argparse.ArgumentParser) -> None:
    machine = parser.add_argument_group('model and machine')
    machine.add_argument(
        '--ckpt_dir', help='folder of the weights (default: the embedded '
        'model, of t2v-tiny and pvtt only)')
    machine.add_argument(
        '--device', help='cuda, cuda:1, mps, cpu (default: the best there is)')
    machine.add_argument(
        '--dtype', choices=list(DTYPES),
        help='of the transformer (default: bfloat16 where it is fast)')
    machine.add_argument(
        '--attention', default='auto', choices=BACKENDS,
        help='attention back end (default: %(default)s)')
    machine.add_argument(
        '--offload_model', type=str2bool,
        help='keep on the device only what is running (default: true)')
    machine.add_argument(
        '--t5_cpu', action='store_true', help='encode text on the CPU')
    machine.add_argument(
        '--vae_tiling', action='store_true',
        help='encode and decode in tiles: less memory, more time')
    machine.add_argument(
        '--cache_text', type=str2bool, default=True,
        help="keep the text's projections while sampling (default: true)")
    machine.add_argument(
        '--ulysses_size', type=int, default=1, help='several GPUs: not yet')
    machine.add_argument(
        '--ring_size', type=int, default=1, help='several GPUs: not yet')
    machine.add_argument(
        '--t5_fsdp', action='store_true', help='several GPUs: not yet')
    machine.add_argument(
        '--dit_fsdp', action='store_true', help='several GPUs: not yet')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    r"""The flags, an experiment file's first so that the others override.

    Raises:
        ValueError: bad flags, or an experiment file that cannot be read.
    """
    parser = build_parser()
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parser.parse_args(argv)
    if args.config:
        args = parser.parse_args(
            ['--task=pvtt', *experiment_flags(args.config), *argv])
    return args


def generate(args: argparse.Namespace) -> None:
    r"""Check one job and run it, or print its plan.

    Raises:
        ValueError: bad input, before any weights are loaded.
    """
    execute(tasks.prepare(args))


def execute(job: tasks.Job) -> None:
    r"""Run a checked job, or print its plan."""
    if job.args.dry_run:
        print(tasks.plan(job))
    else:
        tasks.run(job)


def main(argv: Sequence[str] | None = None) -> int:
    r"""Exit code: 0 done, 2 bad input, 1 fault, 130 interrupted."""
    return run_program(
        'generate.py', lambda: tasks.prepare(parse_args(argv)), execute,
        'nothing was written')


if __name__ == '__main__':
    sys.exit(main())
