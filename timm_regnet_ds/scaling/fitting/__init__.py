"""From multipliers or a target to the scaled arguments of a model class."""
