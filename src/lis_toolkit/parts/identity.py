"""Whether a generator is the one that masks and segmenters were made for."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..errors import LisError

if TYPE_CHECKING:
    from ..stylegan import Generator

# Hashing the weights of a large generator takes a second, and sweeps ask thousands of times.
_hashes: weakref.WeakKeyDictionary[Any, tuple[Any, str]] = weakref.WeakKeyDictionary()


def check_generator(generator: Generator, expected: str, owner: str) -> None:
    """Raise a LisError unless the generator's hash is `expected` (or nothing is expected).

    The hash is computed once, and again after weights were replaced or written to; also inside of transforms of
    ``torch.func``.

    Examples
    --------
    >>> check_generator(generator, segmenter.generator_hash, "the segmenter was trained on")
    """
    if not expected:
        return
    tensors = [*generator.parameters(), *generator.buffers()]
    state = [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]
    before, known = _hashes.get(generator, (None, ""))
    if state != before:
        # Within a transform tensors have no bytes to hash. Transforms hold for the thread that they were entered in.
        with ThreadPoolExecutor(1) as thread:
            known = thread.submit(lambda: generator.hash).result()
        _hashes[generator] = (state, known)
    if known != expected:
        raise LisError(
            f"{owner} the generator {expected[:12]}...; this one, {generator.name!r}, is {known[:12]}... "
            "Take the generator of that hash, or label and train again with this one."
        )
