"""The deployment's own authority, and the certificate with which Kafka shows who it is. PEM throughout."""

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import Refusal, typed

AUTHORITY_DAYS = 3_650
DAYS = 730
# A clock that is behind must not find a certificate that is not valid yet.
SLACK = timedelta(hours=1)
RENEW = f"run {typed('operator', 'renew-certificate')}, which says what to restart"
RENEW_AUTHORITY = f"run {typed('operator', 'renew-certificate --authority')}"
# Where it comes from another authority, whose key is not here.
THEIRS = (
    "have your authority make kafka.crt and kafka.key anew, put them into deploy/secrets, and run `docker "
    "compose run --rm secrets` and `docker compose restart`; or take yours out of there and "
    f"{RENEW_AUTHORITY}"
)


def new_authority(now: datetime) -> tuple[str, str]:
    """A key and its self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "IBuurt Kafka authority")])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(key), _text(made)


def new_certificate(ca_key: str, ca_crt: str, hosts: Iterable[str], now: datetime) -> tuple[str, str]:
    """A key and its certificate for these names and addresses. Raises Refusal where `ca_key` is not the
    authority's, or none that can be used here."""
    authority = _load("ca.crt", ca_crt)
    if not _belongs(ca_key, authority):
        raise Refusal(f"the key of the authority in ca.crt is not in deploy/secrets or here; {THEIRS}")
    signer = serialization.load_pem_private_key(ca_key.encode(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise Refusal(f"ca.key is no elliptic curve key; {THEIRS}")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kafka")])
    made = (
        _builder(name, authority.subject, key.public_key(), now, DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    return _pem(key), _text(made)


def check(kept: Mapping[str, str], hosts: Iterable[str], now: datetime, renewal: str) -> None:
    """Raise Refusal where Kafka's certificate is expired, another's, or lacks one of the names; `kept` is the
    PEM of ca.crt, kafka.crt and kafka.key, `renewal` how another is come by."""
    crt, ca = _load("kafka.crt", kept["kafka.crt"]), _load("ca.crt", kept["ca.crt"])
    for name, found in (("kafka.crt", crt), ("ca.crt", ca)):
        if not found.not_valid_before_utc <= now < found.not_valid_after_utc:
            until = found.not_valid_after_utc.date()
            mend = renewal if found is crt or renewal == THEIRS else RENEW_AUTHORITY
            raise Refusal(f"certificate {name} is not valid on {now.date()}, only until {until}; {mend}")
    try:
        crt.verify_directly_issued_by(ca)
        belongs = _belongs(kept["kafka.key"], crt)
    except (ValueError, TypeError, InvalidSignature):
        belongs = False
    if not belongs:
        raise Refusal(f"kafka.key, kafka.crt and ca.crt do not belong together; give all three, or {renewal}")
    try:
        names = list(crt.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    if missing := [host for host in hosts if _name(host) not in names]:
        raise Refusal(f"certificate kafka.crt is not for {', '.join(missing)}; {renewal}")


def _belongs(key: str, certificate: x509.Certificate) -> bool:
    """Whether it is the certificate's key, in PEM without a password."""
    try:
        return serialization.load_pem_private_key(key.encode(), None).public_key() == certificate.public_key()
    except (ValueError, TypeError):
        return False


def expires(certificate: str) -> datetime:
    """When Kafka's certificate ends to be valid, UTC."""
    return _load("kafka.crt", certificate).not_valid_after_utc


def _load(name: str, text: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        raise Refusal(f"{name} is no PEM certificate; give one, or {RENEW_AUTHORITY}") from None


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + timedelta(days=days))
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode().strip()


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode().strip()
