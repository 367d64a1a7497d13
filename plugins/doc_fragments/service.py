# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that asks the service; the code is in module_utils/argspec.py."""


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  endpoint:
    description:
      - Where the service answers, as an HTTPS URL.
      - If not set, the value of the environment variable E(OPENNGT_ENDPOINT) is used.
    type: str
    required: true
  token:
    description:
      - A bearer token of the service. A viewer's is enough to read, an operator's to change.
      - If not set, the value of the environment variable E(OPENNGT_TOKEN) is used.
    type: str
    required: true
  ca_file:
    description:
      - PEM file of the CA that signed the service's certificate.
      - For the service's own CA it is the file C(ca/ca.pem) below its state folder.
      - Without it the system's trust store decides. Verification cannot be switched off.
      - If not set, the value of the environment variable E(OPENNGT_CA_FILE) is used.
    type: path
  timeout:
    description:
      - How long one call to the service, or a task that the service works on for this module, may take, in seconds.
      - If not set, the value of the environment variable E(OPENNGT_TIMEOUT) is used.
    type: float
    default: 60.0
notes:
  - Runs on the controller; in a play against guests use C(delegate_to=localhost).
  - A failure carries C(code), which is stable, C(remedy), which says what to do, and C(details).
"""
