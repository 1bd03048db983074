r"""generate.py, in which process 1 comes to an end while it edits.

    python -m torch.distributed.run ... faults.py raise|kill FLAGS
"""
import os
import signal
import sys

import generate
from wan.pipeline import WanPipeline
from wan.utils.program import rank

how = sys.argv.pop(1)
condition = WanPipeline.condition


def broken(*arguments, **given):
    if rank() == 1:
        if how == 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        raise MemoryError('no room for it')
    return condition(*arguments, **given)


WanPipeline.condition = broken
sys.exit(generate.main())
