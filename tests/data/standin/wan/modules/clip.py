class CLIPModel:
    pass
