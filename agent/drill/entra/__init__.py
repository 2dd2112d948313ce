"""A simulated Entra ID: discovery, keys, sign-in page, device codes and tokens, with the errors of the real one.

It verifies what it is given (secrets, certificates, assertions, grants), so that a client that passes here has done the work. What the
real service answers is taken from Microsoft's pages on the identity platform, "Microsoft identity platform and OAuth 2.0" and
"Microsoft Entra authentication and authorization error codes".
"""
