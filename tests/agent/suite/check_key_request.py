# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's own key, made by the real openssl, and read by it."""

import os
import subprocess
import tempfile
import unittest

from openngt_agent.errors import AgentError
from openngt_agent.files import Finished, run
from openngt_agent.key_request import make_request


def openssl(*arguments, **more):
    done = subprocess.run(
        ["openssl"] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **more
    )
    return done.returncode, done.stdout.decode("utf-8")


class KeyRequests(unittest.TestCase):
    def test_the_request_is_signed_with_the_key_and_the_curve_is_p_256(self):
        made = make_request()
        status, said = openssl("req", "-verify", "-noout", "-text", input=made.csr_pem.encode("ascii"))
        self.assertEqual(status, 0)
        self.assertIn("prime256v1", said)
        _status, of_request = openssl("req", "-noout", "-pubkey", input=made.csr_pem.encode("ascii"))
        _status, of_key = openssl("pkey", "-pubout", input=made.key_pem.encode("ascii"))
        self.assertEqual(of_request, of_key)
        self.assertNotEqual(made.key_pem, make_request().key_pem)

    def test_the_key_is_in_no_command_line_and_in_no_file(self):
        with tempfile.TemporaryDirectory() as folder:
            before = os.getcwd()
            os.chdir(folder)
            try:
                commands = []
                made = make_request(lambda command: commands.append(command) or run(command))
                self.assertEqual(os.listdir(folder), [])
            finally:
                os.chdir(before)
        self.assertNotIn(made.key_pem.splitlines()[1], str(commands))

    def test_what_openssl_says_is_told_without_what_it_wrote(self):
        secret = make_request().key_pem
        for done in (Finished(1, secret, "a\nlast word\n"), Finished(0, secret, ""), Finished(0, "", "")):
            with self.assertRaises(AgentError) as caught:
                make_request(lambda command, done=done: done)
            self.assertEqual(caught.exception.code, "COMMAND_FAILED")
            self.assertNotIn("PRIVATE", caught.exception.message)
        self.assertTrue(caught.exception.message.endswith("exit status 0"))


if __name__ == "__main__":
    unittest.main()
