"""An SMTP server that accepts, refuses, hesitates or disappears as a test says.

Whatever happens is a line of JSON on standard output. What it does is decided by the recipient's name:
reject-… is unknown, later-… is to be tried again, spam-… is refused with the whole mail quoted, slow-… takes a minute; after bye-… the connection is closed.
"""

import argparse
import asyncio
import email
import email.policy
import json
import logging
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

# What it does is told on standard output; that it allows what no server should is the point.
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

options = argparse.ArgumentParser()
options.add_argument("--port", type=int, default=0)
options.add_argument("--certificate")
options.add_argument("--key")
options.add_argument("--implicit-tls", action="store_true")
options.add_argument("--user")
options.add_argument("--password")
options = options.parse_args()
sessions = 0


def tell(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


class Session(SMTP):
    def connection_made(self, transport):
        global sessions
        # After STARTTLS the same session begins anew.
        if not hasattr(self, "number"):
            sessions += 1
            self.number = sessions
            tell("opened", session=self.number)
        super().connection_made(transport)

    def connection_lost(self, error):
        tell("closed", session=self.number)
        super().connection_lost(error)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        tell("recipient", address=address)
        if address.startswith("reject-"):
            return f"550 5.1.1 <{address}>: Recipient address rejected: User unknown"
        if address.startswith("later-"):
            return "451 4.7.1 Greylisted, try again later"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(rcpt_options)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        body = lambda kind: (lambda part: part and part.get_content())(message.get_body((kind,)))
        text, html = body("plain"), body("html")
        recipient = envelope.rcpt_tos[0]
        if recipient.startswith("spam-"):
            return "554 5.7.1 Blocked: " + " ".join((text or "").split())
        if recipient.startswith("slow-"):
            await asyncio.sleep(60)
        tell(
            "mail",
            session=server.number,
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            headers=[[name, str(value)] for name, value in message.items()],
            subject=message["subject"],
            kind=message.get_content_type(),
            parts=[part.get_content_type() for part in message.walk()],
            text=text,
            html=html,
            tls=server.transport.get_extra_info("ssl_object") is not None,
            user=(session.auth_data.login.decode() if session.auth_data else None),
        )
        if recipient.startswith("bye-"):
            # The answer goes out first.
            asyncio.get_running_loop().call_later(0.05, server.transport.close)
        return "250 OK queued as 4f2a"


def authenticate(server, session, envelope, mechanism, data):
    if not isinstance(data, LoginPassword):
        return AuthResult(success=False, handled=False)
    given = (data.login.decode(), data.password.decode())
    success = given == (options.user, options.password)
    return AuthResult(success=success, handled=False, auth_data=data)


async def main():
    context = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
    starttls = context if context and not options.implicit_tls else None

    def session():
        return Session(
            Handler(),
            hostname="smtp.test",
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=authenticate,
            auth_required=options.user is not None,
            auth_require_tls=context is not None and not options.implicit_tls,
            enable_SMTPUTF8=True,
        )

    implicit = context if options.implicit_tls else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", options.port, ssl=implicit)
    tell("ready", port=server.sockets[0].getsockname()[1])
    # The test that started this ends it, or is gone.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
