"""Refusals that more than one verb gives: the same fault is answered alike, whether by DATA, BDAT or BMTD."""

from gateway.smtp.reply import Reply

__all__ = [
    "BARE_LINE_END",
    "HELLO_FIRST",
    "MAIL_FIRST",
    "NOT_AVAILABLE",
    "NO_RECIPIENTS",
    "RCPT_FIRST",
    "RESET_FIRST",
    "TOO_BIG",
]

NOT_AVAILABLE = Reply.of(502, "5.5.1", "command not available")
HELLO_FIRST = Reply.of(503, "5.5.1", "say hello first")
MAIL_FIRST = Reply.of(503, "5.5.1", "MAIL first")
RCPT_FIRST = Reply.of(503, "5.5.1", "RCPT first")
RESET_FIRST = Reply.of(503, "5.5.1", "RSET first")
BARE_LINE_END = Reply.of(550, "5.5.2", "bare CR or LF in the content")
TOO_BIG = Reply.of(552, "5.3.4", "message too big")
NO_RECIPIENTS = Reply.of(554, "5.5.1", "no valid recipients")
