class FlowUniPCMultistepScheduler:
    pass
