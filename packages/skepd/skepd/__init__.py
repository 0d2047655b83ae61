"""Skep's engine: desired state, plan, apply, API."""
