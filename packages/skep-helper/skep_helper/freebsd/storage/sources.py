"""What guests need of the storage; see guests_sources."""

from ...zfs.sources import disk_path, guest_folder, held_guest, image_path

__all__ = ["disk_path", "guest_folder", "held_guest", "image_path"]
