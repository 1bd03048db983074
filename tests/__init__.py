r"""No test asks the hub for anything; the setting is read on its import."""
import os

os.environ['HF_HUB_OFFLINE'] = '1'
