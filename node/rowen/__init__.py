"""Rowen: a GPU's idle minutes, sold by the token and paid by the receipt."""

__version__ = "0.1.0.dev0"
