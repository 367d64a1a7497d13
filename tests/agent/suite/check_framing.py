# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames from a stream of bytes, whatever the stream is made of."""

import random
import struct
import unittest

from openngt_agent.framing import MOST_AFTER_HELLO, MOST_BEFORE_HELLO, FrameReader, encode


def take_all(reader):
    bodies = []
    while True:
        taken = reader.take()
        if not taken:
            return bodies
        bodies += taken


class Frames(unittest.TestCase):
    def test_however_the_stream_is_cut_the_same_bodies_come_out(self):
        bodies = [b"{}", b"x" * 70, b'{"a":1}', b"y" * 5000]
        stream = b"".join(map(encode, bodies))
        for size in (1, 2, 3, 5, 71, 4096, len(stream)):
            reader, found = FrameReader(), []
            for at in range(0, len(stream), size):
                reader.feed(stream[at : at + size])
                found += take_all(reader)
            self.assertEqual(found, bodies)
            self.assertEqual(reader.held, 0)

    def test_a_length_is_refused_before_its_body_came(self):
        for length in (0, 1, MOST_BEFORE_HELLO + 1, 0xFFFFFFFF):
            reader = FrameReader()
            reader.feed(struct.pack(">I", length))
            with self.assertRaises(ValueError):
                reader.take()

    def test_the_limit_grows_only_when_told(self):
        reader = FrameReader()
        reader.feed(encode(b"z" * (MOST_BEFORE_HELLO + 1)))
        with self.assertRaises(ValueError):
            reader.take()
        reader.limit = MOST_AFTER_HELLO
        self.assertEqual(len(take_all(reader)[0]), MOST_BEFORE_HELLO + 1)

    def test_noise_is_a_body_or_a_valueerror_and_never_held_beyond_one_frame(self):
        choose = random.Random(20261122)
        for _turn in range(4000):
            reader = FrameReader()
            for _piece in range(choose.randrange(1, 6)):
                if choose.random() < 0.5:
                    piece = encode(bytes(choose.randrange(256) for _ in range(choose.randrange(2, 30))))
                else:
                    piece = bytes(choose.randrange(256) for _ in range(choose.randrange(1, 12)))
                reader.feed(piece)
                try:
                    for body in take_all(reader):
                        self.assertLessEqual(2, len(body))
                except ValueError:
                    break
                self.assertLess(reader.held, 4 + MOST_BEFORE_HELLO)


if __name__ == "__main__":
    unittest.main()
