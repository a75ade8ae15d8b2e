"""Submission tokens (STOKEN): who may submit mail to whom, proved by the gateway's own keys without any record kept."""

from gateway.stoken.tokens import LIFETIME_SECONDS, SubmissionTokens

__all__ = ["LIFETIME_SECONDS", "SubmissionTokens"]
