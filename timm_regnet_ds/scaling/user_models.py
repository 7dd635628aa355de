"""The module of the models that users register through `ScaledModel.register`; timm keeps entrypoints by module."""
