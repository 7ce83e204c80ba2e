"""How Faust and aiokafka are told to reach Kafka; `kafka_clients` does kafka-python."""

from typing import Any

import faust

from guard.shell import tls
from guard.shell.settings import Settings


def aiokafka_options(settings: Settings) -> dict[str, Any]:
    """Return the arguments of an aiokafka client."""
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.brokers),
        "security_protocol": settings.security_protocol,
    }
    if settings.uses_tls:
        options["ssl_context"] = tls.context(settings)
    if settings.uses_sasl:
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.reveal(),
        }
    return options


def faust_options(settings: Settings) -> dict[str, Any]:
    """Return what a Faust app needs beside the brokers' addresses."""
    context = tls.context(settings) if settings.uses_tls else None
    if settings.uses_sasl:
        credentials = faust.SASLCredentials(
            mechanism=settings.sasl_mechanism,
            username=settings.sasl_username,
            password=settings.sasl_password.reveal(),
            ssl_context=context,
        )
        return {"broker_credentials": credentials}
    if context is not None:
        return {"broker_credentials": faust.SSLCredentials(context)}
    return {}
