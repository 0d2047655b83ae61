"""Skep's engine: desired state, plan, apply, API."""

__version__ = "0.1.0"
