"""Carrying out plans: step by step, journalled, undone when a step fails, resumed after a crash."""
