"""Signatures of releases: Ed25519, by a key that is derived from the secret setting. A key is named by its
public half, in hexadecimal."""

import base64

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.stats.core.release import canonical
from shared.events import StatisticsReleased


class Signer:
    """Signs releases with the key of a secret."""

    def __init__(self, secret: str) -> None:
        derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"ibuurt statistics signing key 1")
        self._key = Ed25519PrivateKey.from_private_bytes(derive.derive(secret.encode()))
        self.public = self._key.public_key().public_bytes_raw().hex()

    def sign(self, release: StatisticsReleased) -> StatisticsReleased:
        """The release with this key's name and signature."""
        signature = base64.b64encode(self._key.sign(canonical(release))).decode()
        return release.model_copy(update={"signing_key": self.public, "signature": signature})


def is_signed(release: StatisticsReleased) -> bool:
    """Whether its signature is that of the key that it names."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(release.signing_key))
        key.verify(base64.b64decode(release.signature, validate=True), canonical(release))
    except (ValueError, InvalidSignature):
        return False
    return True
