"""The client of skep-helper: the one part of skepd that speaks its protocol."""

from .client import HelperClient

__all__ = ["HelperClient"]
