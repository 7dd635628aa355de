"""The scaled models that have names of their own, as in the scaling paper."""
