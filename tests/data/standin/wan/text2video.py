class WanT2V:

    def __init__(self, config, checkpoint_dir, device_id=0, rank=0):
        self.config = config

    def generate(self, input_prompt, size=(64, 64), seed=-1):
        raise RuntimeError("this needs a GPU")
