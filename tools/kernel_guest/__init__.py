"""A guest of QEMU that runs tests: Debian's cloud kernel and one initramfs with Python, pytest and this repository.

Nothing is installed on the machine that builds it, and nothing of the machine is changed.
"""
