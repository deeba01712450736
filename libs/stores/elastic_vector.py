"""A vector of an incident for nearest-neighbour search: hashed features, no model.

Fingerprint tokens and words of the title are hashed into signed buckets; the cosine of two such vectors estimates the
overlap of the features without bias. It only finds candidates: the exact overlap is computed afterwards.

Source: Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.stores.folded_words import words

DIMENSIONS: Final = 256
# Words alone must not look like the same incident (as in similarity.py): a title of six words then carries a tenth of
# the squared length of a vector with six tokens.
_WORD_WEIGHT: Final = 0.3


def feature_vector(fingerprint: Sequence[str], text: str) -> list[float] | None:
    """Vector of length 1 over tokens and words; None when there is none of either, or they cancel out.

    Returns:
        shape (256,), unitless, each rounded to six digits.
    """
    vector = np.zeros(DIMENSIONS)
    for token in dict.fromkeys(fingerprint):
        _add(vector, "token", token, 1.0)
    for word in dict.fromkeys(words(text)):
        _add(vector, "word", word, _WORD_WEIGHT)
    length = float(np.linalg.norm(vector))
    return np.round(vector / length, 6).tolist() if length > 0 else None


def _add(vector: npt.NDArray[np.float64], kind: str, feature: str, weight: float) -> None:
    digest = hashlib.blake2b(f"{kind}\0{feature}".encode("utf-8", "replace"), digest_size=8).digest()
    number = int.from_bytes(digest, "big")
    vector[number % DIMENSIONS] += weight if number >> 63 else -weight
