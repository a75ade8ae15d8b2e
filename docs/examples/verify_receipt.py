"""Check a receipt token without Mailsluice: `python verify_receipt.py TOKEN keys.json mail.eml`.

It needs PyJWT, cryptography and msgpack, and what `mailsluice keys publish` printed.
"""

import hashlib
import json
import sys
from pathlib import Path

import jwt
import msgpack

token, key_set, mail = sys.argv[1:]
keys = {key["kid"]: key for key in json.loads(Path(key_set).read_text())["keys"]}
key = keys[jwt.get_unverified_header(token)["kid"]]
claims = msgpack.unpackb(jwt.PyJWS().decode(token, jwt.PyJWK(key), algorithms=["EdDSA"]))
if claims["iat"] > key.get("exp", claims["iat"]):
    sys.exit("the key was retired before the receipt was signed")
with Path(mail).open("rb") as content:
    if hashlib.file_digest(content, "sha256").digest() != claims["sha256"]:
        sys.exit("the receipt is of another mail")
print(claims)
