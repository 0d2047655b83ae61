"""What storage on files and storage on ZFS share: formats, records, locks, the tools that work on a disk's content."""
