"""Consoles and screens of guests: who may open them, who has them open, and how a gateway gets their descriptors."""
