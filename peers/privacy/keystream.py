"""Random numbers that nobody can predict: a ChaCha20 keystream whose keys come from the operating system.

Both halves of DP-SGD need them: who could guess the noise could subtract it, and who could guess which records were
drawn gets no amplification by sampling. So neither comes from `--seed`, nor from torch's or numpy's generators, whose
state a few hundred outputs give away. Keys are thrown away after `REKEY_BYTES`, and nothing keeps them.

    words      64-bit, uniform
    normals    Box-Muller in float64 from 53-bit uniforms: exact up to rounding, and never beyond 8.6 standard
               deviations (the true tail there has probability 1e-17)

What this is not: a proof at the level of floating-point numbers. Textbook Gaussian noise in floating point is distorted
in its last bits, enough to tell neighbouring data apart from an exact output (Mironov, CCS 2012). `add_noise` therefore
rounds what it returns to a grid of 2**-20 standard deviations, far coarser than those bits: every point of the grid
stands for about 2**30 noise values. That removes the known attack; a discrete sampler with a proof it is not.
"""

import os
from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

KEY_BYTES, NONCE_BYTES = 32, 16
REKEY_BYTES = 2**30
_BLOCK = 65_536
"""Numbers made at a time: they stay in the processor's cache."""
_GRID = 2.0**-20
"""Of a standard deviation."""


class Keystream:
    """An endless stream of random numbers."""

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        """`entropy` gives so many bytes: the operating system's generator, or a test's fixed one."""
        self._entropy = entropy
        self._left_bytes = 0

    def words(self, count: int) -> NDArray[np.uint64]:
        """Uniform 64-bit numbers [count]."""
        made = np.empty(count, np.uint64)
        for begin in range(0, count, _BLOCK):
            end = min(begin + _BLOCK, count)
            made[begin:end] = self._few_words(end - begin)
        return made

    def normals(self, count: int) -> NDArray[np.float64]:
        """Standard normal numbers [count]."""
        made = np.empty(count, np.float64)
        for begin in range(0, count, _BLOCK):
            end = min(begin + _BLOCK, count)
            pairs = (end - begin + 1) // 2
            uniform = (self._few_words(2 * pairs) >> np.uint64(11)).astype(np.float64) * 2.0**-53
            radius = np.sqrt(-2 * np.log1p(-uniform[:pairs]))  # of 1 - uniform, which is never 0
            angle = 2 * np.pi * uniform[pairs:]
            both = np.concatenate((radius * np.cos(angle), radius * np.sin(angle)))
            made[begin:end] = both[: end - begin]
        return made

    def add_noise(self, sum_N: NDArray[np.float32], deviation: float) -> NDArray[np.float32]:
        """The sum plus independent Gaussian noise of this standard deviation; float32 [N]."""
        grid = deviation * _GRID
        noisy_N = self.normals(sum_N.size)
        noisy_N *= deviation
        noisy_N += sum_N
        noisy_N /= grid
        np.rint(noisy_N, out=noisy_N)
        noisy_N *= grid
        return noisy_N.astype(np.float32)

    def _few_words(self, count: int) -> NDArray[np.uint64]:
        if self._left_bytes < 8 * count:
            self._left_bytes = REKEY_BYTES
            cipher = algorithms.ChaCha20(self._entropy(KEY_BYTES), self._entropy(NONCE_BYTES))
            self._encryptor = Cipher(cipher, mode=None).encryptor()
        self._left_bytes -= 8 * count
        return np.frombuffer(self._encryptor.update(bytes(8 * count)), np.uint64)
