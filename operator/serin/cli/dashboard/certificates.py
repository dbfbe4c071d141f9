"""The certificate with which the page in the cluster proves itself: a Secret's, or one that is made at the start.

A Secret's files are read again when they have changed, as cert-manager renews them long before their end. One that is
made here proves nothing to a browser, which warns; it keeps tokens unreadable on the way.
"""

import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS: Final = 90
_RENEW_DAYS: Final = 30


class Certificate:
    """A server's TLS context. `folder`: with tls.crt and tls.key; None: a certificate is made for `names`.

    Raises OSError and ssl.SSLError when the folder has none that fit together.
    """

    def __init__(self, folder: Path | None, names: Sequence[str]) -> None:
        self._folder, self._names = folder, names
        self._known: tuple[bytes, bytes] | None = None
        self._made: datetime.datetime | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self.renew()

    def renew(self) -> bool:
        """Use the newest for connections from now on; returns whether it is another one. Raises as the constructor."""
        if self._folder is not None:
            found = (self._folder / "tls.crt").read_bytes(), (self._folder / "tls.key").read_bytes()
        elif self._made is None or _now() > self._made + datetime.timedelta(days=_DAYS - _RENEW_DAYS):
            found = made_for(self._names, _now())
        else:
            return False
        if found == self._known:
            return False
        _load(self.context, *found)
        self._known, self._made = found, _now()
        return True


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _load(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """The two of one moment: a Secret's files may change between two reads, and OpenSSL takes files alone."""
    with tempfile.TemporaryDirectory(prefix="serin-") as name:
        folder = Path(name)
        for file, content in (("tls.crt", certificate), ("tls.key", key)):
            (folder / file).touch(0o600)
            (folder / file).write_bytes(content)
        # A pair that does not fit is refused here, before the context has it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / "tls.crt", folder / "tls.key")
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")


def made_for(names: Sequence[str], now: datetime.datetime) -> tuple[bytes, bytes]:
    """A new key with a certificate that it signs itself, both as PEM. `names`: of hosts, addresses among them."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "serin-dashboard")])
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName([_name(one) for one in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name)
