"""A Python client of the module: client.py MODULE TOKEN-LABEL USER-PIN"""

import hashlib
import sys

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters


def main(module: str, label: str, pin: str) -> None:
    token = pkcs11.lib(module).get_token(token_label=label)
    with token.open(rw=True, user_pin=pin) as session:
        curve = session.create_domain_parameters(
            KeyType.EC,
            {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
            local=True,
        )
        public, private = curve.generate_keypair(
            mechanism=Mechanism.EC_KEY_PAIR_GEN, store=True, label="python"
        )
        digest = hashlib.sha256(b"Koseki").digest()
        signature = private.sign(digest, mechanism=Mechanism.ECDSA)
        assert len(signature) == 64
        assert public.verify(digest, signature, mechanism=Mechanism.ECDSA)
        assert not public.verify(digest[::-1], signature, mechanism=Mechanism.ECDSA)

        found = list(session.get_objects({Attribute.LABEL: "python"}))
        assert {one.object_class for one in found} == {
            ObjectClass.PUBLIC_KEY,
            ObjectClass.PRIVATE_KEY,
        }
        secret = session.generate_key(
            KeyType.GENERIC_SECRET,
            256,
            mechanism=Mechanism.GENERIC_SECRET_KEY_GEN,
            template={Attribute.SIGN: True, Attribute.VERIFY: True},
        )
        tag = secret.sign(b"Koseki", mechanism=Mechanism.SHA256_HMAC)
        assert secret.verify(b"Koseki", tag, mechanism=Mechanism.SHA256_HMAC)
        assert session.digest(b"Koseki", mechanism=Mechanism.SHA256) == digest
        assert len(session.generate_random(256)) == 32
    print("all well")


if __name__ == "__main__":
    main(*sys.argv[1:])
