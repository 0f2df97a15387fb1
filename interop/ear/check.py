"""Checks an attestation result of ringmail with PyJWT, which nobody here wrote.

    check.py KEY.pem ALGORITHM NOW < TOKEN

Looks at the signature, the times, and the claims that draft-ietf-rats-ear-04 wants; writes the claims as JSON.
"""

import base64
import json
import sys

import jwt

TIERS = ["none", "affirming", "warning", "contraindicated"]
ASPECTS = {
    "instance-identity", "configuration", "executables", "file-system",
    "hardware", "runtime-opaque", "storage-opaque", "sourced-data",
}


def tier(value):
    """AR4SI section 2.3.4."""
    value = abs(value)
    return 0 if value < 2 else 1 if value < 32 else 2 if value < 96 else 3


def main():
    key, algorithm, now = open(sys.argv[1]).read(), sys.argv[2], int(sys.argv[3])
    token = sys.stdin.read()
    # PyJWT knows no time but its own: the signature here, the times below.
    options = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(token, key, algorithms=[algorithm], options=options)
    assert jwt.get_unverified_header(token)["kid"]

    assert claims["eat_profile"] == "tag:ietf.org,2026:rats/ear#04"
    assert type(claims["iat"]) is int and type(claims["exp"]) is int
    assert claims["iat"] <= now < claims["exp"]
    assert set(claims["ear_verifier_id"]) == {"developer", "build"}
    assert all(claims["ear_verifier_id"].values())
    assert claims["submods"]
    for part in claims["submods"].values():
        vector = part["ear_trustworthiness_vector"]
        assert vector and set(vector) <= ASPECTS
        assert all(type(value) is int and -128 <= value <= 127 for value in vector.values())
        worst = max(tier(value) for value in vector.values())
        assert TIERS.index(part["ear_status"]) >= worst
        assert TIERS.index(claims["ear_status"]) >= TIERS.index(part["ear_status"])
        assert part["ear_appraisal_policy_ids"]
        nonce = part["eat_nonce"]
        assert 8 <= len(base64.urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))) <= 64
    json.dump(claims, sys.stdout, sort_keys=True)


main()
