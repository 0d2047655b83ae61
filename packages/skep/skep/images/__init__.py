"""Published images: manifest, signature, folder. Standard library only; the host's side is ``skepd.images``."""
