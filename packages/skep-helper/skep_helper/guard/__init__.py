"""skep-guard: one process per guest that runs its VMM, owns its serial line and records how it ended.

Everything here runs on any platform and imports little, because each guest has one such process; what is particular
to a VMM is in its driver (``guard.driver`` is the seam; ``linux.qemu.driver``, ``freebsd.bhyve.driver``).
"""
