"""A mail system of Postfix and Dovecot, as processes of a test."""
