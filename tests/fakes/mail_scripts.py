"""What mail servers say, line by line: Exchange Online as it is known from captures, and Dovecot."""

SMTP_GREETING = (
    "220 BE1P281CA0440.outlook.office365.com Microsoft ESMTP MAIL Service ready at Mon, 4 Aug 2025 11:15:30 +0000 [08DDD30471EE4ED5]"
)
EHLO = """
    C: EHLO [
    S: 250-BE1P281CA0440.outlook.office365.com Hello [127.0.0.1]
    S: 250-SIZE 157286400
    S: 250-PIPELINING
    S: 250-DSN
    S: 250-ENHANCEDSTATUSCODES
"""
SMTP_EXCHANGE_ONLINE = f"""
    S: {SMTP_GREETING}
    {EHLO}
    S: 250-STARTTLS
    S: 250 SMTPUTF8
    C: STARTTLS
    S: 220 2.0.0 SMTP server ready
    TLS
    {EHLO}
    S: 250-AUTH LOGIN XOAUTH2
    S: 250 SMTPUTF8
    C: QUIT
    S: 221 2.0.0 Service closing transmission channel
"""

IMAP_GREETING_2023 = "* OK The Microsoft Exchange IMAP4 service is ready. [RgBSADAAUAAyADgAMQBDAEEA]"
IMAP_GREETING_2026 = "* OK Microsoft Exchange IMAP4 service ready. 6a1f8c52 (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE) [RgBSADAA]"
IMAP_EXCHANGE_ONLINE = """
    S: {greeting}
    C: c1 CAPABILITY
    S: * CAPABILITY IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+
    S: c1 OK CAPABILITY completed.
    C: z1 LOGOUT
"""
POP_GREETING = "+OK The Microsoft Exchange POP3 service is ready. [RgBSADAAUAAyADgAMQ]"
POP_EXCHANGE_ONLINE = f"""
    S: {POP_GREETING}
    C: CAPA
    S: +OK
    S: TOP
    S: UIDL
    S: SASL PLAIN XOAUTH2
    S: .
    C: QUIT
"""

STARTTLS = {
    "smtp": SMTP_EXCHANGE_ONLINE,
    "imap": """
        S: * OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.
        C: c1 CAPABILITY
        S: * CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED
        S: c1 OK Pre-login capabilities listed, post-login capabilities have more.
        C: s1 STARTTLS
        S: s1 OK Begin TLS negotiation now.
        TLS
        C: c1 CAPABILITY
        S: * CAPABILITY IMAP4rev1 AUTH=PLAIN
        S: c1 OK done
        C: z1 LOGOUT
    """,
    "pop3": """
        S: +OK Dovecot ready.
        C: CAPA
        S: +OK
        S: STLS
        S: .
        C: STLS
        S: +OK Begin TLS negotiation now.
        TLS
        C: CAPA
        S: +OK
        S: SASL PLAIN
        S: .
        C: QUIT
    """,
}
