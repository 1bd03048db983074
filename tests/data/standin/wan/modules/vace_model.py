from .model import WanModel


class VaceWanModel(WanModel):
    pass
