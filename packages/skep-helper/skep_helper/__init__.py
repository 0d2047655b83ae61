"""The root side of Skep. Standard library only; imports nothing else of the project."""

__version__ = "0.1.0"
