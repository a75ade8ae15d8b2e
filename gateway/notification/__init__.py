"""Delivery status notifications (RFC 3464): what the originator of a mail is told, and whether anything at all.

failed(mail, …)   ┐                     ┌ requests   what NOTIFY, RET, ENVID and ORCPT ask for
relayed(mail, …)  ┘─> a Mail of ours ───┤ fields     fields and addresses that cannot say anything else
                      or None           └ returned   the mail itself, or its header section
"""

from gateway.notification.report import Undelivered, failed, relayed

__all__ = ["Undelivered", "failed", "relayed"]
