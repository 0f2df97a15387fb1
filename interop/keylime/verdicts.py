"""Keylime's own verdicts, for a test that compares them with ours.

Reads a JSON object a line and writes one: {"failed": [names of Keylime's events]}.

{"kind": "list", "policy": {...}, "violations": "refuse" | "allow", "bank": "sha256",
 "rounds": [{"lines": [all lines since the boot], "pcr": "hex"}]}   one answer a round
{"kind": "quote", "ak": "base64 of TPM2B_PUBLIC", "quote": "r...:...:...", "nonce": "text", "bank": "sha256"}
"""

import copy
import json
import logging
import sys
import types

logging.disable(logging.CRITICAL)

# Only for policies signed by PGP, and only to be had with GnuPG's own headers.
sys.modules["gpg"] = types.ModuleType("gpg")

from keylime import config  # noqa: E402
from keylime.agentstates import AgentAttestState  # noqa: E402
from keylime.common.algorithms import Hash  # noqa: E402
from keylime.ima import file_signatures, ima  # noqa: E402
from keylime.tpm.tpm_main import Tpm  # noqa: E402

getboolean = config.getboolean


def violations(refused):
    """As the verifier's setting of them; the code of 7.14 adds an event where it is true."""

    def of(component, option, **rest):
        if option == "ignore_tomtou_errors":
            return refused
        return getboolean(component, option, **rest)

    config.getboolean = of


def of_list(case):
    violations(case["violations"] == "refuse")
    policy = case["policy"]
    ima.validate_runtime_policy(policy)
    state = AgentAttestState("host")
    bank = Hash(case["bank"])
    keys = file_signatures.ImaKeyring.from_string(policy["verification-keys"])
    answers = []
    for round_ in case["rounds"]:
        keyrings = state.ima_keyrings
        keyrings.set_tenant_keyring(keys)
        lines = round_["lines"][state.next_ima_ml_entry :]
        _, failure = ima.process_measurement_list(
            state,
            lines,
            runtime_policy=copy.deepcopy(policy),
            pcrval=round_["pcr"],
            ima_keyrings=keyrings,
            hash_alg=bank,
        )
        answers.append(sorted(set(failure.get_event_ids())))
    return answers


def of_quote(case):
    # A signature that does not hold is an exception without a text: then there are no values, and no error either.
    values, error = Tpm._tpm2_checkquote(case["ak"], case["quote"], case["nonce"], case["bank"], False)
    return [[] if values and not error else ["quote"]]


KINDS = {"list": of_list, "quote": of_quote}

for line in sys.stdin:
    case = json.loads(line)
    try:
        answer = {"failed": KINDS[case["kind"]](case)}
    except Exception as error:  # what Keylime refuses by raising is refused
        answer = {"raised": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
