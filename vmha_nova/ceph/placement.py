"""Which placement group an object belongs to, by its name; no I/O.

Ceph hashes names with Bob Jenkins' function of 1996 (pools made with anything else are rare, and
told apart by ``object_hash``), and folds the hash onto the number of groups so that growing that
number splits groups one by one.
"""

import functools

RJENKINS = 2                # a pool's object_hash

_WORD = 0xffffffff
_GOLDEN = 0x9e3779b9


@functools.lru_cache(maxsize=64)
def names(groups):
    """For each of a pool's ``groups`` placement groups, the name of an object that belongs there.

    A tuple: the name for group number i is at i. No such object is ever made.
    """
    found, number = {}, 0
    while len(found) < groups:
        name = f'vmha.{number}'
        found.setdefault(group(name, groups), name)
        number += 1
    return tuple(found[index] for index in range(groups))


def group(name, groups):
    """The number of the placement group, of ``groups`` in the pool, that holds an object."""
    mask = (1 << (groups - 1).bit_length()) - 1
    hashed = rjenkins(name.encode())
    folded = hashed & mask
    return folded if folded < groups else hashed & (mask >> 1)


def rjenkins(data):
    """The 32 bit hash of some bytes."""
    a, b, c = _GOLDEN, _GOLDEN, 0
    whole = len(data) - len(data) % 12
    for start in range(0, whole, 12):
        first, second, third = _words(data[start:start + 12])
        a, b, c = _mix(a + first, b + second, c + third)
    first, second, third = _words(data[whole:])
    # The lowest byte of the third word is kept for the length.
    return _mix(a + first, b + second, c + len(data) + (third << 8))[2]


def _words(data):
    return tuple(int.from_bytes(data[start:start + 4], 'little') for start in (0, 4, 8))


def _mix(a, b, c):
    for left, middle, right in ((13, 8, 13), (12, 16, 5), (3, 10, 15)):
        a = ((a - b - c) & _WORD) ^ ((c & _WORD) >> left)
        b = ((b - c - a) & _WORD) ^ ((a << middle) & _WORD)
        c = ((c - a - b) & _WORD) ^ (b >> right)
    return a, b, c
