# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON from a stranger: one meaning or none, in bounded time."""

import json
import random
import unittest

from openngt_agent import strict_json

LIMIT = 65536


class Refusals(unittest.TestCase):
    def refused(self, data, limit=LIMIT):
        with self.assertRaises(ValueError):
            strict_json.load_object(data, limit)

    def test_what_is_longer_than_the_limit(self):
        self.refused(b'{"a":1}', limit=6)
        self.assertEqual(strict_json.load_object(b'{"a":1}', 7), {"a": 1})

    def test_nesting_deeper_than_the_limit_before_it_is_parsed(self):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            deep = b'{"a":' + opening * 31 + b"1" + closing * 31 + b"}"
            strict_json.load_object(deep, LIMIT)
            self.refused(b'{"a":' + opening * 32 + b"1" + closing * 32 + b"}")
            self.refused(b'{"a":' + opening * 10000)

    def test_brackets_in_strings_do_not_nest(self):
        text = b'{"a":"' + b"[" * 100 + b'\\"' + b"{" * 100 + b'\\\\"}'
        self.assertIn("[", strict_json.load_object(text, LIMIT)["a"])

    def test_a_key_that_stands_twice(self):
        self.refused(b'{"a":1,"a":1}')
        self.refused(b'{"a":{"b":1,"b":2}}')
        self.refused(b'{"a":1,"\\u0061":2}')

    def test_numbers_that_json_does_not_have(self):
        for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 65, b"0." + b"1" * 64):
            self.refused(b'{"a":' + number + b"}")

    def test_what_is_no_object_or_no_text(self):
        for data in (b"", b"[]", b"1", b'"a"', b"null", b"{", b"{}x", b'{"a":"\xff"}', b"\xef\xbb\xbf{}", b"[{}]"):
            self.refused(data)

    def test_the_reason_repeats_nothing_of_the_content(self):
        for data in (b'{"k":"SECRET"', b'{"SECRET":1,"SECRET":1}', b'["SECRET"]'):
            with self.assertRaises(ValueError) as caught:
                strict_json.load_object(data, LIMIT)
            self.assertNotIn("SECRET", str(caught.exception))

    def test_escaped_quotes_without_an_end_cost_linear_time(self):
        # Quadratic search would take hours here.
        self.refused(b'{"' + b'\\"' * 500000, limit=1 << 20)


class Fuzz(unittest.TestCase):
    PIECES = [
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b":",
        b",",
        b"1",
        b"-",
        b"e9",
        b"null",
        b"NaN",
        b"\xff",
        b"\xc3\xa9",
        b"a",
    ]

    def test_no_input_does_worse_than_a_valueerror_and_what_passes_is_what_json_says(self):
        choose = random.Random(20261121)
        seed = json.dumps({"a": [1, 2.5, {"b": None, "c": "x\u00e9\n"}], "d": True}).encode()
        passed = 0
        for _turn in range(8000):
            if choose.random() < 0.5:
                data = b"{" + b"".join(choose.choice(self.PIECES) for _ in range(choose.randrange(40)))
            else:
                at = choose.randrange(len(seed))
                data = seed[:at] + choose.choice(self.PIECES) + seed[at + choose.randrange(3) :]
            try:
                found = strict_json.load_object(data, LIMIT)
            except ValueError:
                continue
            passed += 1
            self.assertEqual(found, json.loads(data.decode("utf-8")))
        self.assertGreater(passed, 100)


if __name__ == "__main__":
    unittest.main()
