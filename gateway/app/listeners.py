"""From a `[[listener]]` of the configuration to a listener that accepts mail."""

from gateway import ingress
from gateway.app.keys import content_tokens, receipt_signer, submission_tokens
from gateway.collection import SharingSettings
from gateway.config import Authentication, Config, Limits, Listener, TcpBind, UnixBind
from gateway.ingress import Authenticator, ListenerSettings, PasswordFile
from gateway.ingress.receipt_codes import receipt_names
from gateway.ingress.reply_metadata import OfferedCodes, ReplyMetadata
from gateway.keys import KeyRing
from gateway.smtp import Limits as SessionLimits
from gateway.smtp.dialect import DIALECTS
from gateway.smtp.extension import Policy
from gateway.smtp.extensions import extension_table
from gateway.smtp.extensions.stoken import DELIVERY_ID, STOKEN
from gateway.smtp.extensions.xreplymeta import MAILDATA
from gateway.smtp.referral import REFERRAL

__all__ = ["listen", "listener_settings"]


async def listen(listener: ingress.Listener, bind: TcpBind | UnixBind) -> tuple[str, ...]:
    """Let `listener` accept at `bind`, and say where that is, in the form of the configuration. Raises OSError."""
    if isinstance(bind, TcpBind):
        return tuple(str(TcpBind(host, port)) for host, port in await listener.listen_tcp(bind.host, bind.port))
    await listener.listen_unix(bind.path)
    return (str(bind),)


def listener_settings(listener: Listener, config: Config, keys: KeyRing) -> ListenerSettings:
    """What the ingress needs to know, certificate and passwords loaded. `keys` are the gateway's own.

    Raises ValueError or OSError when those have become unusable since the configuration was checked.
    """
    gateway = config.gateway
    tls, authentication, limits = listener.tls, listener.authentication, listener.limits
    types = (connector.type for connector in config.connectors.values())
    coordinates = {each.name: each.coordinates for each in types}
    signer = receipt_signer(keys)
    asked = listener.reply_metadata
    contents = content_tokens(keys, gateway.hostname, _shared(config)) if asked.maildata else None
    # One line for each family of response codes; that of the connectors, whose number is not ours, has what is left.
    families = (
        ((MAILDATA,), asked.maildata),
        ((STOKEN, DELIVERY_ID), asked.stoken),
        ((REFERRAL,), asked.referral),
        (receipt_names(coordinates, signed=signer is not None), asked.receipts),
    )
    offered = tuple(OfferedCodes(names=names, networks=networks) for names, networks in families if networks)
    policy = Policy(
        message_octets=listener.max_message_bytes,
        starttls=tls is not None and tls.mode == "starttls",
        require_tls=tls is not None and tls.required,
        authentication=authentication is not None,
        require_authentication=authentication is not None and authentication.required,
        authentication_without_tls=authentication is not None and authentication.allow_without_tls,
        bmtd_before_content=listener.bmtd_order == "before-content",
        reply_codes=bool(offered),
        submission_tokens=bool(asked.stoken),
    )
    return ListenerSettings(
        name=listener.name,
        hostname=gateway.hostname,
        dialect=DIALECTS[listener.protocol],
        extensions=extension_table(policy, disabled=listener.disable_extensions),
        limits=_session_limits(limits, listener.max_message_bytes),
        spool=gateway.spool,
        tls=tls.context() if tls else None,
        implicit_tls=tls is not None and tls.mode == "implicit",
        authenticator=_authenticator(authentication) if authentication else None,
        trusted_networks=listener.trusted_networks,
        proxy_networks=listener.proxy_protocol_networks,
        reply_metadata=ReplyMetadata(
            offered=offered,
            coordinates=coordinates,
            signer=signer,
            contents=contents,
            submission=submission_tokens(keys) if asked.stoken else None,
        ),
        max_connections=limits.max_connections,
        max_connections_per_client=limits.max_connections_per_client,
        idle_seconds=limits.idle_seconds,
        min_octets_per_second=limits.min_octets_per_second,
    )


def _shared(config: Config) -> list[str]:
    settings = (connector.settings for connector in config.connectors.values())
    return [each.name for each in settings if isinstance(each, SharingSettings) and each.single_instance]


def _session_limits(limits: Limits, max_message_bytes: int) -> SessionLimits:
    return SessionLimits(
        message_octets=max_message_bytes,
        command_octets=limits.max_command_octets,
        recipients=limits.max_recipients,
        errors=limits.max_errors,
        junk=limits.max_junk_commands,
        chunks=limits.max_chunks,
        containers=limits.max_containers,
        container_octets=limits.max_container_bytes,
        metadata_octets=limits.max_metadata_bytes,
    )


def _authenticator(authentication: Authentication) -> Authenticator | None:
    if authentication.password_file is not None:
        return PasswordFile(authentication.password_file)
    return authentication.authenticator
