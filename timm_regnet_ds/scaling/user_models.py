"""Holds the models to which `ScaledModel.register` has given names, as timm's family modules hold theirs."""
