"""What a RCPT is answered: who may write to whom comes first, then where the mail would go."""

from gateway.delivery import Routes
from gateway.ingress import records
from gateway.ingress.acknowledge import NO_SUCH_RECIPIENT, RECIPIENT_OK
from gateway.ingress.referring import answer_instead
from gateway.ingress.submission import TOKEN_REFUSED, admitted
from gateway.ingress.transaction import Transaction
from gateway.smtp import RecipientReceived, Reply, ServerConnection
from gateway.smtp.extensions.stoken import STOKEN
from gateway.stoken import SubmissionTokens

__all__ = ["take_recipient"]


def take_recipient(
    recipient: RecipientReceived,
    transaction: Transaction,
    routes: Routes,
    connection: ServerConnection,
    submission: SubmissionTokens | None,
) -> Reply:
    """Add the recipient to the transaction, if its mail is taken here, and say the reply."""
    token = None
    if connection.authenticated_by == STOKEN:
        if submission is not None:
            token = admitted(submission, recipient, sender=connection.authenticated_as)
        if token is None:
            # Before anything that would tell whether there is such a recipient.
            return TOKEN_REFUSED
    route = routes.match(recipient.address)
    if route is None:
        records.recipient_refused(transaction, recipient.address)
        return NO_SUCH_RECIPIENT
    if route.referral is not None:
        reply = answer_instead(transaction, route, route.referral, recipient.address, connection)
        if reply is not None:
            return reply
    transaction.add_recipient(recipient, route, token)
    return RECIPIENT_OK
