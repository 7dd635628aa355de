"""A module for tests of what is counted."""

from torch import nn


class Call(nn.Module):
    """A function of images, with the modules that it uses."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.function(self, x)
