"""TLS for TCP, by certificate files that may be renewed while the daemon runs."""

from __future__ import annotations

import ssl

from nicmapd.api.door import tokens
from nicmapd.config import ApiConfig
from nicmapd.errors import ConfigError

#: Longer keys there are not.
_KEY_BYTES = 64 * 1024


def context_of(settings: ApiConfig, *, strict: bool = True) -> ssl.SSLContext | None:
    """The context for `api.tls_certificate_file` and `api.tls_key_file`; None if there are none.

    `strict`: the key must be root's or ours. Raises `ConfigError` with what to do.
    """
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if not certificate and not key:
        return None
    if not certificate or not key:
        missing = "api.tls_key_file" if certificate else "api.tls_certificate_file"
        raise ConfigError([f"{missing}: not set; TLS needs the certificate and its key"])
    try:
        # Debian keeps keys for the group ssl-cert: a group may read this one.
        tokens.read_private(key, _KEY_BYTES, owners=tokens.owners() if strict else None, group=True)
    except ValueError as error:
        raise ConfigError([f"api.tls_key_file: {error}"]) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load(context, settings)
    return context


def load(context: ssl.SSLContext, settings: ApiConfig) -> None:
    """Has new connections of `context` use the files as they are now. Raises `ConfigError` with what to do."""
    try:
        # Never ask a terminal for the pass phrase of a key.
        context.load_cert_chain(settings.tls_certificate_file, settings.tls_key_file, password=lambda: "")
    except ssl.SSLError as error:
        reason = (error.reason or "").lower().replace("_", " ") or "not readable as PEM"
        raise ConfigError(
            [
                f"api.tls_certificate_file: {settings.tls_certificate_file} and the key {settings.tls_key_file} cannot "
                f"be used: {reason}; both must be PEM, belong together, and the key must have no pass phrase"
            ]
        ) from error
    except OSError as error:
        raise ConfigError([f"api.tls_certificate_file: {settings.tls_certificate_file}: {error.strerror}"]) from error
