"""How often each word occurs: one step with a combiner, and a counter of its own."""

import re

from mrjob.job import MRJob

WORD = re.compile(r"[^\W\d_]+")


class WordFrequency(MRJob):
    def mapper(self, _, line):
        for word in WORD.findall(line):
            yield word.lower(), 1

    def combiner(self, word, counts):
        yield word, sum(counts)

    def reducer(self, word, counts):
        self.increment_counter("vocabulary", "words", 1)
        yield word, sum(counts)


if __name__ == "__main__":
    WordFrequency.run()
