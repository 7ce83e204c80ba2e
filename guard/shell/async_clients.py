"""How Faust and aiokafka are told to reach Kafka; `kafka_clients` does kafka-python."""

import ssl
from typing import Any

import faust

from guard.shell.settings import Settings


def aiokafka_options(settings: Settings) -> dict[str, Any]:
    """Return the arguments of an aiokafka client."""
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.brokers),
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.reveal(),
        }
    return options


def faust_options(settings: Settings) -> dict[str, Any]:
    """Return what a Faust app needs beside the brokers' addresses."""
    uses_tls = settings.security_protocol.endswith("SSL")
    context = _ssl_context(settings) if uses_tls else None
    if settings.security_protocol.startswith("SASL"):
        credentials = faust.SASLCredentials(
            mechanism=settings.sasl_mechanism,
            username=settings.sasl_username,
            password=settings.sasl_password.reveal(),
            ssl_context=context,
        )
        return {"broker_credentials": credentials}
    if uses_tls:
        return {"broker_credentials": faust.SSLCredentials(context)}
    return {}


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.ssl_cafile or None)
