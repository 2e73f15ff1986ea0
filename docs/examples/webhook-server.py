#!/usr/bin/env python3
"""An example of a webhook server for containerssh-gateway: Python's standard library and nothing else.

    python3 webhook-server.py --listen 127.0.0.1:8080 --users users.json

users.json names who may log in; passwords as `openssl rand -hex 16` makes salts and hashlib.scrypt digests:

    {"alice": {"scrypt": ["<salt, hexadecimal>", "<digest, hexadecimal>"], "keys": ["ssh-ed25519 AAAA..."],
               "team": "blue", "config": {"security": {"maxSessions": 2}}}}

`--hash` reads a password from standard input and prints such a pair. What is asked is described in webhooks.openapi.json. A
server for production answers over TLS (or behind something that does), and only to the gateway.
"""

import argparse
import base64
import hashlib
import hmac
import json
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# A request carries one password or key and what is known of a user.
MAX_REQUEST = 4 * 1024 * 1024


def digest(password: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=2**14, r=8, p=1)


# Strangers take as long as users: time must not tell who there is.
NOBODY = {"scrypt": [secrets.token_hex(16), secrets.token_hex(64)]}


def password(users: dict, asked: dict) -> dict:
    user = users.get(asked["username"])
    salt, expected = (bytes.fromhex(part) for part in (user or NOBODY).get("scrypt", NOBODY["scrypt"]))
    good = hmac.compare_digest(digest(base64.b64decode(asked["passwordBase64"]), salt), expected)
    return {"success": good and user is not None, **known(user)}


def public_key(users: dict, asked: dict) -> dict:
    user = users.get(asked["username"])
    return {"success": asked["publicKey"] in (user or {}).get("keys", []), **known(user)}


def authorization(users: dict, asked: dict) -> dict:
    return {"success": not users.get(asked["username"], {}).get("locked", False)}


def configuration(users: dict, asked: dict) -> dict:
    return {"config": users.get(asked["username"], {}).get("config", {})}


def teardown(_users: dict, asked: dict) -> dict:
    print(f"ended {asked['connectionId']}: {asked['username']}, {asked['reason']}", flush=True)
    return {}


def known(user: dict | None) -> dict:
    team = (user or {}).get("team")
    return {"metadata": {"TEAM": {"value": team, "sensitive": False}}} if team else {}


QUESTIONS = {
    "password": password,
    "pubkey": public_key,
    "authz": authorization,
    "config": configuration,
    "teardown": teardown,
}


class Handler(BaseHTTPRequestHandler):
    # The gateway keeps its connections.
    protocol_version = "HTTP/1.1"
    users: dict = {}

    def do_POST(self) -> None:
        question = QUESTIONS.get(self.path.rsplit("/", 1)[-1])
        length = int(self.headers.get("Content-Length", -1))
        if question is None or not 0 <= length <= MAX_REQUEST:
            self.close_connection = True
            self.answer(404 if question is None else 413, {})
            return
        try:
            asked = json.loads(self.rfile.read(length))
            answer = question(self.users, asked)
        except (KeyError, TypeError, ValueError) as error:
            # What the gateway never sends. The message holds no password.
            print(f"bad request: {type(error).__name__}", file=sys.stderr, flush=True)
            self.answer(400, {})
            return
        self.answer(200, answer)

    def answer(self, status: int, body: dict) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_) -> None:
        """No line per request."""


def main() -> None:
    parser = argparse.ArgumentParser(description="An example of a webhook server for containerssh-gateway")
    parser.add_argument("--listen", default="127.0.0.1:8080", help="address:port; port 0 takes a free one")
    parser.add_argument("--users", help="the file of users")
    parser.add_argument("--hash", action="store_true", help="print salt and digest of a password on standard input")
    arguments = parser.parse_args()
    if arguments.hash:
        salt = secrets.token_bytes(16)
        line = sys.stdin.buffer.readline().rstrip(b"\n")
        print(json.dumps([salt.hex(), digest(line, salt).hex()]))
        return
    if not arguments.users:
        parser.error("--users is missing")
    with open(arguments.users, encoding="utf-8") as file:
        Handler.users = json.load(file)
    host, port = arguments.listen.rsplit(":", 1)
    server = ThreadingHTTPServer((host, int(port)), Handler)
    print(f"listening on http://{host}:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
