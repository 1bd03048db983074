r"""One job from what the user gives to the files it writes.

    from wan.jobs import execute, prepare
    from wan.tasks import TASKS

    job = prepare(TASKS, 't2v-tiny', {'prompt': 'a disc.', 'base_seed': 0})
    execute(job)
"""
from .plan import plan
from .preparing import prepare
from .running import begin, execute, execute_together, load, run, save
from .task import Job, Task

__all__ = [
    'Job',
    'Task',
    'begin',
    'execute',
    'execute_together',
    'load',
    'plan',
    'prepare',
    'run',
    'save',
]
