#!/usr/bin/env bash
# Everything of benchmarks/ that needs a GPU, in under 10 minutes, as tables.
#
#     benchmarks/gpu.sh [FOLDER_OF_A_CHECKPOINT] > gpu.md
#
# A whole edit is timed stage by stage with the embedded model. With a
# checkpoint, of text to video, a few steps of making a video are timed too;
# its weights are read once. Each part may take as long as is said before it,
# and no more; one that fails says so, and the others go on. The last table
# lists them.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}

part() {
    local limit=$1 title=$2
    shift 2
    local start=$SECONDS end='done'
    printf '\n### %s\n\n    %s\n\n' "$title" "$*"
    timeout "$limit" "$@" 2>&1 || {
        end="failed or cut off ($?)"
        printf '\n%s\n' "$end"
    }
    ended+="| $title | $((SECONDS - start)) | $limit | $end |"$'\n'
}
ended=$'| part | seconds | at most | |\n| --- | --: | --: | --- |\n'

"$python" - <<'PROGRAM' || exit 2
import sys
import torch
if not torch.cuda.is_available():
    sys.exit('benchmarks/gpu.sh needs a CUDA device, and there is none.')
free, total = torch.cuda.mem_get_info()
print(f'{torch.cuda.get_device_name()}, {free / 2**30:.1f} of '
      f'{total / 2**30:.1f} GiB free, torch {torch.__version__}, '
      f'CUDA {torch.version.cuda}')
PROGRAM

part 50 'What goes to the device and comes back' \
    "$python" -m benchmarks.fitting --device cuda
part 90 'One forward, 480p, 81 frames' \
    "$python" -m benchmarks.dit --device cuda --dtype bf16 \
    --size '832*480' --frames 81 --layers_limit 8
part 40 'Reading the reference, 480p, 81 frames' \
    "$python" -m benchmarks.refdrop --device cuda --dtype bf16 \
    --size '832*480' --frames 81 --layers_limit 4
part 100 'A whole edit of the embedded model' \
    "$python" -m benchmarks.edit --device cuda
part 90 'VAE' \
    "$python" -m benchmarks.vae --device cuda --dtype bf16 --dim 96 \
    --size '832*480' --frames 17 --tile 48 8
part 40 'Memory, predicted and measured' \
    "$python" -m benchmarks.memory --device cuda
part 30 'Predicted seconds' "$python" -m benchmarks.predicted
if [ $# -gt 0 ]; then
    part 100 'Text to video, 4 steps of 480p and 81 frames' \
        "$python" generate.py --task t2v-1.3B --ckpt_dir "$1" \
        --size '832*480' --frame_num 81 --sample_steps 4 --prompt 'a vase' \
        --save_file "$(mktemp -d)/gpu.mp4" --base_seed 1
fi
printf '\n### What ran\n\n%s' "$ended"
