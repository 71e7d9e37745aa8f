"""Compiled readers of JSON's literals in a byte buffer: strings, numbers, tokens of 32 hexadecimal digits.

Each takes the buffer (uint8, with at least 64 bytes of zeros behind its content) and a position, and returns where the
literal ends, or -1 where it is not one that it reads for certain: the caller then leaves the file to the standard
library. Nothing is accepted that ``json.loads`` refuses. Numbers come out exactly as Python's ``float`` rounds them
(Lemire 2021, "Number Parsing at a Gigabyte per Second"; Mushtak and Lemire 2023 for the missing fallback).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from drive.logs.json_bits import as_double, high_product, leading_zeros, load64, trailing_zeros

_ONES, _HIGH = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES = np.uint64(0x2222222222222222), np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES, _NIBBLES = np.uint64(0x2020202020202020), np.uint64(0x0F0F0F0F0F0F0F0F)
_ZEROS, _SIXES = np.uint64(0x3030303030303030), np.uint64(0x0606060606060606)
_LANES, _PAIRS, _LOW = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFFFFFF)
_MIX = np.uint64(0x9E3779B97F4A7C15)


def _shift(bits: int) -> np.uint64:
    return np.uint64(bits)


_S1, _S4, _S6, _S8, _S16, _S32, _S52, _S63 = (_shift(n) for n in (1, 4, 6, 8, 16, 32, 52, 63))
_MASK9 = np.uint64(0x1FF)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)

SMALLEST_POWER, LARGEST_POWER = -60, 60


def _powers() -> np.ndarray:
    """uint64 [121, 2]: the 128 leading bits of 10**q, high and low half; rounded down for q >= 0, up for q < 0."""
    rows = []
    for q in range(SMALLEST_POWER, LARGEST_POWER + 1):
        five = 5 ** abs(q)
        if q >= 0:
            bits = five.bit_length()
            value = five << (128 - bits) if bits <= 128 else five >> (bits - 128)
        else:
            z = five.bit_length()
            value = (1 << (z + 127)) // five + 1
            while value >= 1 << 128:
                value >>= 1
        rows.append((value >> 64, value & (2**64 - 1)))
    return np.array(rows, np.uint64)


_POWERS = _powers()
_TENS = 10.0 ** np.arange(23)  # exact


@njit(cache=True, nogil=True)
def string_end(data: np.ndarray, at: int, limit: int) -> int:
    """Where the quote stands that closes a string with content from `at` on; -1: escapes, controls, not ASCII, none."""
    while at < limit:
        v = load64(data, at)
        quote, slash = v ^ _QUOTES, v ^ _BACKSLASHES
        hit = ((quote - _ONES) & ~quote) | ((slash - _ONES) & ~slash) | ((v - _SPACES) & ~v) | v
        hit &= _HIGH
        if hit:
            at += int(trailing_zeros(hit)) >> 3
            return at if at < limit and data[at] == 34 else -1
        at += 8
    return -1


@njit(cache=True, nogil=True)
def token_key(data: np.ndarray, at: int) -> tuple[np.uint64, bool]:
    """(key, as data_tools.nuscenes.tables makes it, of the 32 hexadecimal digits at `at`; whether they are such)."""
    low, high = np.uint64(0), np.uint64(0)
    for part in range(4):
        v = load64(data, at + 8 * part)
        n = (v & _NIBBLES) + ((v >> _S6) & _ONES) * np.uint64(9)
        letter = ((n + _SIXES) >> _S4) & _ONES
        if (n & ~_NIBBLES) or n + _ZEROS + letter * np.uint64(39) != v:
            return np.uint64(0), False
        t = ((n << _S4) | (n >> _S8)) & _LANES
        t = (t | (t >> _S8)) & _PAIRS
        t = (t | (t >> _S16)) & _LOW
        if part < 2:
            low |= t << np.uint64(32 * part)
        else:
            high |= t << np.uint64(32 * (part - 2))
    return low ^ (high * _MIX), True


@njit(cache=True, nogil=True)
def _eight_digits(block: np.uint64) -> bool:
    """Whether 8 bytes are all decimal digits."""
    return (block & (block + _SIXES) & ~_NIBBLES) == _ZEROS


@njit(cache=True, nogil=True)
def _value_of_eight(block: np.uint64) -> np.uint64:
    """The number that 8 decimal digits write, by halves: pairs, fours, eight."""
    block -= _ZEROS
    block = block * np.uint64(10) + (block >> _S8)
    tens = (block & np.uint64(0x000000FF000000FF)) * np.uint64(0x000F424000000064)
    ones = ((block >> _S16) & np.uint64(0x000000FF000000FF)) * np.uint64(0x0000271000000001)
    return (tens + ones) >> np.uint64(32)


@njit(cache=True, nogil=True)
def whole_number(data: np.ndarray, at: int) -> tuple[int, int]:
    """(value, end) of an integer of at most 18 digits; end -1 where it is none."""
    negative = data[at] == 45
    if negative:
        at += 1
    first, value = at, 0
    block = load64(data, at)
    while _eight_digits(block) and at - first <= 8:
        value = value * 100000000 + int(_value_of_eight(block))
        at += 8
        block = load64(data, at)
    while 48 <= data[at] <= 57:
        value = value * 10 + int(data[at]) - 48
        at += 1
        if at - first > 18:
            return 0, -1
    if at == first or (data[first] == 48 and at - first > 1) or data[at] in (46, 69, 101):  # . E e
        return 0, -1
    return (-value if negative else value), at


@njit(cache=True, nogil=True)
def real_number(data: np.ndarray, at: int) -> tuple[float, int]:
    """(value, end) of a number, rounded as Python's float does; end -1 where it is none or has over 19 digits.

    NaN, which Python's reader accepts as well, is a number; the infinities are not.
    """
    if data[at] == 78 and data[at + 1] == 97 and data[at + 2] == 78:
        return np.nan, at + 3
    negative = data[at] == 45
    if negative:
        at += 1
    first = at
    w = np.uint64(0)
    while 48 <= data[at] <= 57:
        w = w * np.uint64(10) + np.uint64(data[at] - 48)
        at += 1
    digits = at - first
    if digits == 0 or (data[first] == 48 and digits > 1):
        return 0.0, -1
    q = 0
    if data[at] == 46:
        at += 1
        after = at
        block = load64(data, at)
        while _eight_digits(block):
            w = w * np.uint64(100000000) + _value_of_eight(block)
            at += 8
            block = load64(data, at)
        four = (block << _S32) | (_ZEROS >> _S32)  # four zeros, then the next four characters
        if _eight_digits(four):
            w = w * np.uint64(10000) + _value_of_eight(four)
            at += 4
        while 48 <= data[at] <= 57:
            w = w * np.uint64(10) + np.uint64(data[at] - 48)
            at += 1
        if at == after:
            return 0.0, -1
        q = after - at
        digits += at - after
    if data[at] == 69 or data[at] == 101:
        at += 1
        down = data[at] == 45
        if down or data[at] == 43:
            at += 1
        begin, e = at, 0
        while 48 <= data[at] <= 57 and at - begin < 5:
            e = e * 10 + int(data[at]) - 48
            at += 1
        if at == begin or 48 <= data[at] <= 57:
            return 0.0, -1
        q += -e if down else e
    if digits > 19:
        # Leading zeros (0.000123...) are no digits of the number.
        lead = first
        while data[lead] == 48 or data[lead] == 46:
            if data[lead] == 48:
                digits -= 1
            lead += 1
        if digits > 19:
            return 0.0, -1
    if w == 0:
        return (-0.0 if negative else 0.0), at
    value, good = _rounded(w, q)
    if not good:
        return 0.0, -1
    return (-value if negative else value), at


@njit(cache=True, nogil=True)
def _rounded(w: np.uint64, q: int) -> tuple[float, bool]:
    """w * 10**q as the nearest double, ties to even; False where that is not certain (far exponents)."""
    if w <= np.uint64(9007199254740992) and -22 <= q <= 22:  # both exact, so one operation rounds once
        return (np.float64(w) / _TENS[-q] if q < 0 else np.float64(w) * _TENS[q]), True
    if q < SMALLEST_POWER or q > LARGEST_POWER:
        return 0.0, False
    zeros = leading_zeros(w)
    w = w << zeros
    row = q - SMALLEST_POWER
    high, low = high_product(w, _POWERS[row, 0]), w * _POWERS[row, 0]
    if (high & _MASK9) == _MASK9:
        more = high_product(w, _POWERS[row, 1])
        low += more
        if low < more:
            high += np.uint64(1)
    if low == _ALL:
        return 0.0, False
    top = high >> _S63
    mantissa = high >> (top + np.uint64(9))
    power = ((217706 * q) >> 16) + 63 + np.int64(top) - np.int64(zeros) + 1023
    if power <= 0 or power >= 2046:
        return 0.0, False
    halfway = low <= np.uint64(1) and -4 <= q <= 23 and (mantissa & np.uint64(3)) == np.uint64(1)
    if halfway and (mantissa << (top + np.uint64(9))) == high:
        mantissa &= ~np.uint64(1)
    mantissa += mantissa & np.uint64(1)
    mantissa >>= _S1
    if mantissa >= np.uint64(1) << np.uint64(53):
        mantissa = np.uint64(1) << _S52
        power += 1
    mantissa &= ~(np.uint64(1) << _S52)
    return as_double(mantissa | (np.uint64(power) << _S52)), True
