"""Which clients are referred, and what the others get: recipients whose route has a referral.

A referral tells how a site is built and that a recipient exists, so it is for clients that the listener names for it.
A client that does not know referrals would come again for ever, so without asking for them none gets one in the form
of a response code.
"""

from gateway.address import Address
from gateway.delivery import Route
from gateway.ingress import records
from gateway.ingress.acknowledge import NOT_TAKEN_HERE
from gateway.ingress.transaction import Transaction
from gateway.smtp import Reply, ServerConnection
from gateway.smtp.referral import REFERRAL, Referral, dovecot_referral_reply, referral_reply

__all__ = ["answer_instead"]


def answer_instead(
    transaction: Transaction, route: Route, referral: Referral, recipient: Address, connection: ServerConnection
) -> Reply | None:
    """The reply to a recipient whose route has a referral, also logged; None where its mail is taken all the same."""
    reply = _referral(referral, route, recipient, connection)
    if reply is None and not route.destinations:
        reply = NOT_TAKEN_HERE
    if reply is not None:
        records.recipient_referred(transaction, recipient, reply)
    return reply


def _referral(referral: Referral, route: Route, recipient: Address, connection: ServerConnection) -> Reply | None:
    asked_for = connection.transaction.reply_codes
    if REFERRAL in asked_for:
        return referral_reply(referral)
    # Dovecot asks for nothing, and whoever asks for other codes is not Dovecot.
    if route.dovecot_form and REFERRAL in connection.reply_codes and not asked_for:
        return dovecot_referral_reply(referral, recipient)
    return None
