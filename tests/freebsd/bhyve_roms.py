"""Boot ROMs that do one thing: 64 KiB of real-mode code that bhyve runs instead of UEFI. The bytes are the program."""

from __future__ import annotations

SIZE = 64 * 1024
COM1, PM1_STATUS, PM1_CONTROL, SMI_COMMAND, RESET = 0x3F8, 0x400, 0x404, 0xB2, 0xCF9
_ACPI_ENABLE, _POWER_BUTTON, _SLEEP_S5 = 0xA0, 0x0100, 0x3400


def port(number: int) -> bytes:
    """mov dx, number"""
    return b"\xba" + number.to_bytes(2, "little")


def byte_out(number: int, value: int) -> bytes:
    """mov dx; mov al; out dx, al"""
    return port(number) + bytes([0xB0, value, 0xEE])


def say(text: bytes) -> bytes:
    return b"".join(byte_out(COM1, value) for value in text)


def sleep() -> bytes:
    """sti; hlt; jmp back"""
    return b"\xfb\xf4\xeb\xfc"


def reset() -> bytes:
    return byte_out(RESET, 6) + b"\xf4\xeb\xfd"


def power_off() -> bytes:
    """mov dx; mov ax; out dx, ax; hlt"""
    return port(PM1_CONTROL) + b"\xb8" + _SLEEP_S5.to_bytes(2, "little") + b"\xef\xf4\xeb\xfd"


def enable_acpi() -> bytes:
    return byte_out(SMI_COMMAND, _ACPI_ENABLE)


def until_power_button() -> bytes:
    """mov dx; in ax, dx; test ax, bit; jz back"""
    return port(PM1_STATUS) + b"\xed\xa9" + _POWER_BUTTON.to_bytes(2, "little") + b"\x74\xfa"


def echo() -> bytes:
    """What comes from the serial line goes back in brackets: wait for data ready, read, write."""
    wait = port(COM1 + 5) + b"\xec\xa8\x01\x74\xfb"  # in al, dx; test al, 1; jz back
    take = port(COM1) + b"\xec\x88\xc4"  # in al, dx; mov ah, al
    give = say(b"<") + port(COM1) + b"\x88\xe0\xee" + say(b">")  # mov al, ah; out dx, al
    body = wait + take + give
    return body + b"\xe9" + (-len(body) - 3).to_bytes(2, "little", signed=True)


def rom(*parts: bytes) -> bytes:
    """A ROM that runs the parts one after the other."""
    code = b"".join(parts)
    assert len(code) < SIZE - 16
    jump = b"\xe9" + ((0 - 0xFFF3) & 0xFFFF).to_bytes(2, "little")
    return (code.ljust(SIZE - 16, b"\xf4") + jump).ljust(SIZE, b"\xf4")
